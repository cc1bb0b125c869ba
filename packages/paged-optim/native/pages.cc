// graft-isa: scalar
//
// The commands of src/pageKernels.ts over stores with threads of their own (pageStore.h).
#include <graft/plugin.h>

#include "pageStore.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

constexpr int64_t kPathBytes = 4096, kTokenBytes = 16;
/** "graft spill 1\n", and then the token. */
constexpr char kMagic[] = "graft spill 1\n";
constexpr int64_t kTokenAt = sizeof kMagic - 1;

StoreList<Store> stores;

/** Room for all pages, now: 0 or an errno. */
int reserve(int file, int64_t bytes) {
#if defined(__linux__)
  int failed;
  do failed = posix_fallocate(file, kHeaderBytes, bytes);
  while (failed == EINTR);
  if (failed != EOPNOTSUPP && failed != EINVAL) return failed;
#endif
  static const unsigned char zeros[1 << 16] = {};
  for (int64_t at = 0; at < bytes; at += int64_t{sizeof zeros})
    if (const int error = writeWhole(file, zeros, bytes - at < int64_t{sizeof zeros} ? bytes - at : int64_t{sizeof zeros}, kHeaderBytes + at))
      return error;
  return 0;
}

/** place u8 [4096 + 16]: path, then the token that the file must hold; params store, frames, pages, pageBytes. */
void open(const Call& call) {
  const auto* place = call[0].as<const unsigned char>();
  const auto* path = reinterpret_cast<const char*>(place);
  const int64_t pages = static_cast<int64_t>(call.params[2]), pageBytes = static_cast<int64_t>(call.params[3]);
  Store* store = makeStore(call.params[0], call.pool.self, static_cast<int64_t>(call.params[1]), pages, pageBytes);
  if (store == nullptr) return call.fault("no memory for a page store");
  char problem[kPathBytes + 256] = "";
  unsigned char token[kTokenBytes];
  store->file = ::open(path, O_RDWR | O_CLOEXEC);
  if (store->file < 0) {
    std::snprintf(problem, sizeof problem, "the spill file %s cannot be opened: %s", path, std::strerror(errno));
  } else if (readWhole(store->file, token, kTokenBytes, kTokenBytes, kTokenAt) != 0 || std::memcmp(token, place + kPathBytes, kTokenBytes) != 0) {
    std::snprintf(problem, sizeof problem, "the spill file %s is not this run's: another run has put its own there", path);
  } else if (const int failed = reserve(store->file, pages * pageBytes)) {
    std::snprintf(problem, sizeof problem,
                  "the spill file %s needs %.1f MiB, and there is no room for it (%s); free some, give another spill folder, or a larger resident budget",
                  path, double(pages * pageBytes) / 1048576, std::strerror(failed));
  } else if (!startMovers(*store)) {
    std::snprintf(problem, sizeof problem, "the system refuses a thread for the spill file %s", path);
  }
  if (problem[0] != 0) {
    closeStore(store);
    return call.fault(problem);
  }
  stores.add(store);
}

/** frame u8 [pageBytes]; params store, frame, page, reads, writes. */
void bring(const Call& call) {
  Store* store = stores.find(call.params[0]);
  if (store == nullptr) return call.fault("internal: there is no such page store");
  const auto index = static_cast<int64_t>(call.params[1]), page = static_cast<int64_t>(call.params[2]);
  if (!bringPage(*store, index, call[0].as<unsigned char>(), page, call.params[3] != 0, call.params[4] != 0)) call.fault(store->error);
}

/** The same operand; params store, frame, page. */
void prefetch(const Call& call) {
  if (Store* store = stores.find(call.params[0]))
    prefetchPage(*store, static_cast<int64_t>(call.params[1]), call[0].as<unsigned char>(), static_cast<int64_t>(call.params[2]));
}

void traffic(const Call& call) { stores.tellTraffic(call); }

/** state u8 */
void clear(const Call& call) {
  constexpr int64_t piece = int64_t{1} << 20;
  const int64_t bytes = call[0].size();
  call.pool.parallel((bytes + piece - 1) / piece, [&](int64_t i, int) {
    const int64_t end = bytes < (i + 1) * piece ? bytes : (i + 1) * piece;
    std::memset(call[0].as<unsigned char>() + i * piece, 0, static_cast<size_t>(end - i * piece));
  });
}

}  // namespace

void register_pages(Registry& registry) {
  registry.add("paged-optim.open", {"store", "frames", "pages", "pageBytes"}, open);
  registry.add("paged-optim.bring", {"store", "frame", "page", "reads", "writes"}, bring);
  registry.add("paged-optim.prefetch", {"store", "frame", "page"}, prefetch);
  registry.add("paged-optim.traffic", {"store"}, traffic);
  registry.add("paged-optim.clear", {}, clear);
}

}  // namespace GRAFT_ISA
}  // namespace graft

extern "C" __attribute__((visibility("default"))) void graft_queue_closed(const void* queue) {
  using namespace graft::GRAFT_ISA;
  stores.closeOf(queue, closeStore);
}
