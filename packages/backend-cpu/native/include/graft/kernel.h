// What a kernel file sees: operands, the thread pool, and the registry that it enters its bodies in.
//
// A kernel family is one file `kernels/foo.cc`. Its first lines name the instruction sets that it is compiled for,
//
//     // graft-isa: scalar avx2 avx512 neon
//
// and it is compiled once for each of them with -DGRAFT_ISA=<isa> and that set's flags. It holds
//
//     #include <graft/kernel.h>
//     namespace graft { namespace GRAFT_ISA {
//     static void fill(const Call& call) { … }
//     void register_foo(Registry& registry) { registry.add("fill", {"value"}, fill); }
//     } }
//
// The build finds the file and calls register_foo for the table of each of its instruction sets; nothing else is edited.
// A table lacks what its files do not register: such a kernel comes from the next lower table
// (avx512bf16 → avx512 → avx2 → scalar; neonbf16 → neon → scalar).
//
// One definition rule. A file is compiled with several sets of flags into one library. An inline function or a template
// instance of a shared header, emitted out of line by two of those compilations, is ONE symbol to the linker, which may
// keep the AVX-512 copy and run it on a machine without AVX-512. So whatever a kernel file or its headers define is
// inside namespace GRAFT_ISA, or static, or in an anonymous namespace, or always inlined (GRAFT_INLINE). Templates of the
// standard library that are not sure to be inlined (containers, sort, function) have no place in kernels. The build
// rejects an object that shares a symbol.
//
// Kernels are compiled without exceptions and run-time types, with -O3 -ffp-contract=off -fno-math-errno
// -fno-trapping-math: a fused multiply-add happens only where it is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#define GRAFT_INLINE inline __attribute__((always_inline))

/** How a codec's weight is read by panels: defined in panel.h, opaque here; a plain C record, so that plug-ins have it. */
struct graft_panel_source;
/** How the scales of a quantised weight are read, likewise. */
struct graft_scale_reader;

namespace graft {

/** The codes are those of the TypeScript side. */
enum class DType : int { f32 = 0, bf16 = 1, f16 = 2, i32 = 3, i8 = 4, u8 = 5 };

/** Bytes of one element. */
GRAFT_INLINE constexpr int64_t bytesOf(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 ? 4 : dtype == DType::bf16 || dtype == DType::f16 ? 2 : 1;
}

/** A dense row-major tensor in an arena. `data` is aligned as the allocator promised (64 bytes), rank is 0 to 4. */
struct Operand {
  void* data;
  DType dtype;
  int rank;
  int64_t shape[4];  // dimensions past the rank are 1

  GRAFT_INLINE int64_t size() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  GRAFT_INLINE int64_t rows() const { return shape[0]; }
  /** Elements of a row, all dimensions but the first. */
  GRAFT_INLINE int64_t columns() const { return shape[1] * shape[2] * shape[3]; }
  template <class T>
  GRAFT_INLINE T* as() const {
    return static_cast<T*>(data);
  }
};

/**
 * The workers that a kernel runs on; the calling thread is worker 0.
 * A plain record of function pointers, so that plug-ins link against nothing.
 */
struct Pool {
  /** Workers, the calling thread counted. */
  int threads;
  void* self;
  void (*runParallel)(void* self, int64_t count, void (*task)(void* context, int64_t index, int worker), void* context);
  unsigned char* scratchBase;
  size_t scratchBytes;  // of one worker: scratchBytesPerWorker
  unsigned char* sharedBase;
  size_t sharedBytes;  // sharedScratchBytes
  void (*setFault)(void* self, const char* message);

  /**
   * Runs task(index, worker) for each index of [0, count) and returns when all are done. Indices are handed out
   * dynamically: which worker runs one, and when, differs from run to run, so no bit of a result may depend on `worker`.
   * Cut the work by its size, never by `threads`. A call from within a task runs inline on the worker that makes it.
   */
  template <class Task>
  GRAFT_INLINE void parallel(int64_t count, const Task& task) const {
    runParallel(
        self, count,
        [](void* context, int64_t index, int worker) { (*static_cast<const Task*>(context))(index, worker); },
        const_cast<void*>(static_cast<const void*>(&task)));
  }
  /** 4 MiB of the worker's own, 64-byte aligned, undefined contents. */
  GRAFT_INLINE void* scratch(int worker) const { return scratchBase + static_cast<size_t>(worker) * scratchBytes; }
  /** 32 MiB for all workers of one kernel together, 64-byte aligned, undefined contents. */
  GRAFT_INLINE void* shared() const { return sharedBase; }
};

/** Constants of the plan: allocated when a queue opens. */
inline constexpr size_t scratchBytesPerWorker = size_t{4} << 20;
inline constexpr size_t sharedScratchBytes = size_t{32} << 20;

using PanelSource = ::graft_panel_source;
using ScaleReader = ::graft_scale_reader;

/** One command: outputs first, then inputs; `params` in the order of the registered fields (booleans are 0 and 1). */
struct Call {
  const Operand* operands;
  int count;
  const double* params;
  int paramCount;
  /** As many bytes as the kernel declares for these shapes on the TypeScript side; null if that is none. */
  float* workspace;
  Pool& pool;
  /** For a body registered as `X.method` and called as `codec.method`: the codec's panel source. Else null. */
  const PanelSource* source;
  /** For `codec+format.method`: the reader of that scale format. Else null. */
  const ScaleReader* scales = nullptr;

  GRAFT_INLINE const Operand& operator[](int index) const { return operands[index]; }
  /** An error of the outside world: sticks to the queue under this command's name. Not for wrong arguments. */
  GRAFT_INLINE void fault(const char* message) const { pool.setFault(pool.self, message); }
};

/** Neither throws nor allocates. Shapes and dtypes were checked when the command was enqueued. */
using Body = void (*)(const Call&);

/** The table of one instruction set, open while it is filled. Names and field names are copied. */
struct Registry {
  void* self;
  void (*addKernel)(void* self, const char* name, const char* const* fields, int fieldCount, Body body);
  void (*addSource)(void* self, const char* codec, const PanelSource* source);
  void (*addReader)(void* self, const char* format, const ScaleReader* reader) = nullptr;

  /**
   * `fields` name the params in order; the TypeScript side states its own list and a difference is an error.
   * A name `X.method` serves every codec that has a panel source: `nf4.method` runs this body with `call.source` set,
   * unless a kernel is registered under `nf4.method` itself. `nf4+double-quant.method` runs it with `call.scales` set too.
   */
  GRAFT_INLINE void add(const char* name, std::initializer_list<const char*> fields, Body body) {
    addKernel(self, name, fields.begin(), static_cast<int>(fields.size()), body);
  }
  /** `source` must live as long as the process (a static object). */
  GRAFT_INLINE void addPanelSource(const char* codec, const PanelSource* source) { addSource(self, codec, source); }
  /** `reader` likewise. */
  GRAFT_INLINE void addScaleReader(const char* format, const ScaleReader* reader) { addReader(self, format, reader); }
};

}  // namespace graft
