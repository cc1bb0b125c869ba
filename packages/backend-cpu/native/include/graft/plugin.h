/* The C ABI of plug-ins: shared libraries that bring kernels and panel sources of their own.
 *
 * A plug-in exports one function and links against nothing of Graft:
 *
 *     int graft_register(const graft_host* host) {
 *       if (host->version != GRAFT_PLUGIN_VERSION) return host->fail(host, "built for another Graft");
 *       const graft_registry* scalar = host->registry(host, "scalar");
 *       static const char* const fields[] = {"scale"};
 *       scalar->add_kernel(scalar->self, "mine.scale", fields, 1, scale);
 *       return 0;
 *     }
 *
 * Its registrations enter the tables together when it returns 0. The library stays loaded as long as the process.
 * In C++ include kernel.h instead of writing to these records: they are the same memory as graft::Operand, graft::Pool,
 * graft::Call and graft::Registry, and graft::registryOf(host, isa) gives the registry, so that kernel files written as
 * kernel.h describes serve in a plug-in unchanged.
 */
#ifndef GRAFT_PLUGIN_H
#define GRAFT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raised when a record below changes its meaning; fields may be added behind the last without raising it. */
#define GRAFT_PLUGIN_VERSION 1

/** Codes of graft_operand.dtype. */
enum { GRAFT_F32 = 0, GRAFT_BF16 = 1, GRAFT_F16 = 2, GRAFT_I32 = 3, GRAFT_I8 = 4, GRAFT_U8 = 5 };

/** A dense row-major tensor; extents past the rank are 1. */
typedef struct graft_operand {
  void* data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[4];
} graft_operand;

/** How a codec's weight is read: panel.h. */
typedef struct graft_panel_source graft_panel_source;
/** How a scale format's scales are read: panel.h. */
typedef struct graft_scale_reader graft_scale_reader;

typedef struct graft_pool {
  int32_t threads;
  void* self;
  /** Runs task(context, index, worker) for each index of [0, count) on all workers, returns when all are done. */
  void (*run_parallel)(void* self, int64_t count, void (*task)(void* context, int64_t index, int worker), void* context);
  /** Worker w's scratch is scratch + w · scratch_bytes; shared is for all workers of one kernel together. */
  unsigned char* scratch;
  size_t scratch_bytes;
  unsigned char* shared;
  size_t shared_bytes;
  /** An error of the outside world: sticks to the queue under the running command's name. */
  void (*set_fault)(void* self, const char* message);
} graft_pool;

/** Outputs first, then inputs; params in the order of the registered fields. */
typedef struct graft_call {
  const graft_operand* operands;
  int32_t count;
  const double* params;
  int32_t param_count;
  float* workspace;
  graft_pool* pool;
  const graft_panel_source* source;
  const graft_scale_reader* scales;
} graft_call;

/** Neither throws nor allocates. */
typedef void (*graft_body)(const graft_call* call);

typedef struct graft_registry {
  void* self;
  void (*add_kernel)(void* self, const char* name, const char* const* fields, int field_count, graft_body body);
  /** `source` lives as long as the process. */
  void (*add_panel_source)(void* self, const char* codec, const graft_panel_source* source);
  /** `reader` likewise. */
  void (*add_scale_reader)(void* self, const char* format, const graft_scale_reader* reader);
} graft_registry;

typedef struct graft_host {
  uint32_t version;
  uint32_t bytes;  // of this record
  void* self;
  /**
   * The table of an instruction set: scalar, avx2, avx512, avx512bf16, neon or neonbf16. Null when this machine lacks
   * it, and then code compiled for it must not run. Lower tables stand in for higher ones, so scalar alone suffices.
   */
  const graft_registry* (*registry)(const struct graft_host* host, const char* isa);
  /** Says why the plug-in does not load; returns 1, to be returned from graft_register. */
  int (*fail)(const struct graft_host* host, const char* message);
} graft_host;

/** What a plug-in exports. 0: loaded. */
int graft_register(const graft_host* host);

/**
 * May be exported too: the threads of a queue have ended, and its memory goes when this returns. `queue` is graft_pool.self
 * of its commands. What a plug-in's own threads do to that memory must be over by then.
 */
void graft_queue_closed(const void* queue);

#ifdef __cplusplus
}  // extern "C"

#include "kernel.h"

namespace graft {

/** The registry of `isa`, or null when this machine lacks it. */
GRAFT_INLINE Registry* registryOf(const graft_host* host, const char* isa) {
  return const_cast<Registry*>(reinterpret_cast<const Registry*>(host->registry(host, isa)));
}

}  // namespace graft
#endif

#endif
