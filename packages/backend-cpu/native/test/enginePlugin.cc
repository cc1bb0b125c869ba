// Kernels that make the engine's rules visible to tests: slow ones, failing ones, and ones that look at the pool.
#include <graft/plugin.h>

#include <time.h>

struct graft_panel_source {
  float answer;
};

namespace graft { namespace scalar {

/** Takes `ms`, then out += value. */
static void slowAdd(const Call& call) {
  const double ms = call.params[0];
  timespec left{static_cast<time_t>(ms / 1000), static_cast<long>((ms - 1000 * static_cast<int64_t>(ms / 1000)) * 1e6)};
  while (ms > 0 && nanosleep(&left, &left) != 0) {
  }
  call[0].as<float>()[0] += static_cast<float>(call.params[1]);
}

static void failing(const Call& call) { call.fault("the disk is on fire"); }

/** out[i] += 1 for each index that is handed out, each with a nested loop of 3 that adds 10. */
static void countIndices(const Call& call) {
  auto* out = call[0].as<int32_t>();
  call.pool.parallel(call[0].size(), [&](int64_t index, int) {
    out[index] += 1;
    call.pool.parallel(3, [&](int64_t, int) { out[index] += 10; });
  });
}

/** out[w] = 1 where worker w was seen to use scratch that no other worker uses at the same time; out has `threads` items. */
static void scratchIsOwn(const Call& call) {
  auto* out = call[0].as<int32_t>();
  call.pool.parallel(1000, [&](int64_t index, int worker) {
    auto* scratch = static_cast<volatile int64_t*>(call.pool.scratch(worker));
    const int64_t words = static_cast<int64_t>(scratchBytesPerWorker / sizeof(int64_t));
    for (int64_t i = 0; i < words; i += words / 64) scratch[i] = index;
    bool own = true;
    for (int64_t i = 0; i < words; i += words / 64) own = own && scratch[i] == index;
    if (out[worker] >= 0) out[worker] = own ? 1 : -1;
  });
  auto* shared = static_cast<unsigned char*>(call.pool.shared());
  shared[0] = shared[sharedScratchBytes - 1] = 1;
}

/** out[0] = the panel source's answer, out[1] = whether a workspace came along. */
static void sourceAnswer(const Call& call) {
  call[0].as<float>()[0] = call.source == nullptr ? -1 : call.source->answer;
  call[0].as<float>()[1] = call.workspace == nullptr ? 0 : 1;
}

} }  // namespace graft::scalar

extern "C" __attribute__((visibility("default"))) int graft_register(const graft_host* host) {
  using namespace graft;
  if (host->version != GRAFT_PLUGIN_VERSION) return host->fail(host, "built for another Graft");
  if (registryOf(host, "no such set") != nullptr) return host->fail(host, "an unknown instruction set has a table");
  Registry& registry = *registryOf(host, "scalar");
  static const graft_panel_source source{42};
  registry.add("test.slowAdd", {"ms", "value"}, scalar::slowAdd);
  registry.add("test.failing", {}, scalar::failing);
  registry.add("test.countIndices", {}, scalar::countIndices);
  registry.add("test.scratchIsOwn", {}, scalar::scratchIsOwn);
  registry.add("X.testAnswer", {"unused"}, scalar::sourceAnswer);
  registry.addPanelSource("testCodec", &source);
  return 0;
}
