// graft-isa: scalar
//
// The commands of src/streamKernels.ts over stores with threads of their own (layerStore.h).
#include <graft/plugin.h>

#include "layerStore.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

StoreList<Store> stores;

/**
 * table u8: numbers i64, then paths of 4096 bytes. The numbers: the size of each file; the first segment of each layer, and
 * their count; file, offset, bytes and place in the frame of each segment. Params store, files, layers, segments, frames.
 */
void open(const Call& call) {
  const auto count = [&](int i) { return static_cast<int64_t>(call.params[i]); };
  const int64_t files = count(1), layers = count(2), segments = count(3);
  Store* store = makeStore(call.params[0], call.pool.self, files, layers, segments, count(4));
  if (store == nullptr) return call.fault("no memory for a stream of weights");
  const auto* numbers = call[0].as<const int64_t>();
  const auto* paths = reinterpret_cast<const char*>(numbers + files + layers + 1 + 4 * segments);
  std::memcpy(store->first, numbers + files, static_cast<size_t>(layers + 1) * sizeof(int64_t));
  std::memcpy(store->segments, numbers + files + layers + 1, static_cast<size_t>(segments) * sizeof(Segment));
  char problem[kPathBytes + 256] = "";
  for (int64_t i = 0; i < files && problem[0] == 0; i++) {
    File& file = store->files[i];
    std::memcpy(file.path, paths + i * kPathBytes, size_t{kPathBytes} - 1);
    file.size = numbers[i];
    if (!openFile(file))
      std::snprintf(problem, sizeof problem, "%s cannot be streamed: %s", file.path,
                    errno == 0 ? "it was changed since it was looked at; prepare it again" : std::strerror(errno));
  }
  if (problem[0] == 0 && !startReaders(*store)) std::snprintf(problem, sizeof problem, "the system refuses a thread to read weights");
  if (problem[0] != 0) {
    closeStore(store);
    return call.fault(problem);
  }
  stores.add(store);
}

/** frame u8; params store, frame, layer. */
void bring(const Call& call) {
  Store* store = stores.find(call.params[0]);
  if (store == nullptr) return call.fault("internal: there is no such stream of weights");
  if (!bringLayer(*store, static_cast<int64_t>(call.params[1]), call[0].as<unsigned char>(), static_cast<int64_t>(call.params[2])))
    call.fault(store->error);
}

/** The same. */
void prefetch(const Call& call) {
  if (Store* store = stores.find(call.params[0]))
    prefetchLayer(*store, static_cast<int64_t>(call.params[1]), call[0].as<unsigned char>(), static_cast<int64_t>(call.params[2]));
}

void traffic(const Call& call) { stores.tellTraffic(call); }

}  // namespace

void register_stream(Registry& registry) {
  registry.add("weight-stream.open", {"store", "files", "layers", "segments", "frames"}, open);
  registry.add("weight-stream.bring", {"store", "frame", "layer"}, bring);
  registry.add("weight-stream.prefetch", {"store", "frame", "layer"}, prefetch);
  registry.add("weight-stream.traffic", {"store"}, traffic);
}

}  // namespace GRAFT_ISA
}  // namespace graft

extern "C" __attribute__((visibility("default"))) void graft_queue_closed(const void* queue) {
  using namespace graft::GRAFT_ISA;
  stores.closeOf(queue, closeStore);
}
