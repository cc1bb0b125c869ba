#include "plugins.h"

#include <dlfcn.h>
#include <graft/plugin.h>

#include <mutex>
#include <set>
#include <vector>

#include "failure.h"
#include "tables.h"

namespace graft {

// The C records are the C++ ones.
static_assert(sizeof(graft_operand) == sizeof(Operand) && offsetof(graft_operand, dtype) == offsetof(Operand, dtype) &&
              offsetof(graft_operand, rank) == offsetof(Operand, rank) &&
              offsetof(graft_operand, shape) == offsetof(Operand, shape));
static_assert(sizeof(graft_pool) == sizeof(Pool) && offsetof(graft_pool, self) == offsetof(Pool, self) &&
              offsetof(graft_pool, run_parallel) == offsetof(Pool, runParallel) &&
              offsetof(graft_pool, scratch) == offsetof(Pool, scratchBase) &&
              offsetof(graft_pool, shared) == offsetof(Pool, sharedBase) &&
              offsetof(graft_pool, set_fault) == offsetof(Pool, setFault));
static_assert(sizeof(graft_call) == sizeof(Call));  // a reference member has no offset to compare; it is a pointer
static_assert(sizeof(graft_registry) == sizeof(Registry) &&
              offsetof(graft_registry, add_kernel) == offsetof(Registry, addKernel) &&
              offsetof(graft_registry, add_panel_source) == offsetof(Registry, addSource) &&
              offsetof(graft_registry, add_scale_reader) == offsetof(Registry, addReader));

namespace {

struct Loading {
  Registration registration;
  std::string complaint;
};

const graft_registry* registryFor(const graft_host* host, const char* isaName) {
  const auto isa = isaNamed(isaName);
  if (!isa || !available(*isa)) return nullptr;
  return reinterpret_cast<const graft_registry*>(&static_cast<Loading*>(host->self)->registration.registry(*isa));
}

using QueueClosed = void (*)(const void* queue);

/** Lives as long as the process: queues may close while statics are destroyed. */
struct Closers {
  std::mutex mutex;
  std::vector<QueueClosed> all;
};
Closers& closers() {
  static auto* const one = new Closers;
  return *one;
}

int fail(const graft_host* host, const char* message) {
  static_cast<Loading*>(host->self)->complaint = message;
  return 1;
}

}  // namespace

void loadPlugin(const std::string& path) {
  static std::mutex mutex;
  static auto* const loaded = new std::set<void*>;
  const std::lock_guard lock(mutex);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Failure("plug-in " + path + " does not load: " + dlerror());
  if (loaded->contains(library)) return;
  const auto enter = reinterpret_cast<int (*)(const graft_host*)>(dlsym(library, "graft_register"));
  if (enter == nullptr) {
    dlclose(library);
    throw Failure("plug-in " + path + " exports no graft_register; see include/graft/plugin.h");
  }
  Loading loading;
  const graft_host host{GRAFT_PLUGIN_VERSION, sizeof(graft_host), &loading, registryFor, fail};
  const int result = enter(&host);
  if (result != 0) {
    throw Failure("plug-in " + path + " refuses: " +
                  (loading.complaint.empty() ? "graft_register returned " + std::to_string(result) : loading.complaint));
  }
  loading.registration.commit("plug-in " + path);
  loaded->insert(library);
  if (const auto closed = reinterpret_cast<QueueClosed>(dlsym(library, "graft_queue_closed"))) {
    const std::lock_guard adding(closers().mutex);
    closers().all.push_back(closed);
  }
}

void tellQueueClosed(const void* queue) {
  const std::lock_guard lock(closers().mutex);
  for (const auto closed : closers().all) closed(queue);
}

}  // namespace graft
