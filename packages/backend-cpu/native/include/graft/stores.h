// What stores of memory with threads of their own have in common: plug-ins that bring something into frames of a queue's
// memory ahead of the command that reads it (packages/paged-optim, packages/weight-stream). A store belongs to the queue that
// opened it and goes when that queue closes: until then its threads may write to the queue's memory.
// POSIX threads, not the C++ library's: kernel files define nothing that a linker may share (kernel.h).
#pragma once

#include <graft/kernel.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include <pthread.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif

namespace graft {
namespace GRAFT_ISA {

/** A frame that holds nothing. */
constexpr int64_t kNone = -1;

/** What a store's thread does first: it inherits the core that the worker which started it keeps to. */
static inline void useAnyCore() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(getpid(), sizeof allowed, &allowed) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}

/** As long as it lives, this keeps its lock. */
class Locked {
 public:
  explicit GRAFT_INLINE Locked(pthread_mutex_t& mutex) : mutex_(mutex) { pthread_mutex_lock(&mutex_); }
  GRAFT_INLINE ~Locked() { pthread_mutex_unlock(&mutex_); }
  Locked(const Locked&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

/** What moved since it was last asked: PageTraffic of core's Optimizer.ts, in its order. */
struct Traffic {
  double faults, hits, bytesIn, bytesOut, stallSeconds;
};

GRAFT_INLINE double secondsNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

/**
 * At least `wanted` of `bytes`, however many calls that takes; 0 or an errno. A file that ends too early is ENODATA. A direct
 * read of whole blocks may go beyond the file's end.
 */
static int readWhole(int file, unsigned char* to, int64_t bytes, int64_t wanted, int64_t position) {
  for (int64_t done = 0; done < wanted;) {
    const ssize_t got = pread(file, to + done, static_cast<size_t>(bytes - done), position + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0 ? ENODATA : errno;
    done += got;
  }
  return 0;
}

/** All open stores of a plug-in. A Store has `behind`, `id`, `queue` (graft_pool.self), `traffic`, `mutex`. */
template <class Store>
struct StoreList {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  Store* first = nullptr;

  /** Null: there is none. */
  GRAFT_INLINE Store* find(double id) {
    const Locked lock(mutex);
    Store* store = first;
    while (store != nullptr && store->id != id) store = store->behind;
    return store;
  }
  GRAFT_INLINE void add(Store* store) {
    const Locked lock(mutex);
    store->behind = first;
    first = store;
  }
  /** Closes those of a queue. */
  template <class Close>
  GRAFT_INLINE void closeOf(const void* queue, Close close) {
    for (;;) {
      Store* found = nullptr;
      {
        const Locked lock(mutex);
        for (Store** at = &first; *at != nullptr; at = &(*at)->behind) {
          if ((*at)->queue != queue) continue;
          found = *at;
          *at = found->behind;
          break;
        }
      }
      if (found == nullptr) return;
      close(found);
    }
  }
  /** traffic f64 [5] as bytes; params store. What is told is counted anew from here. */
  GRAFT_INLINE void tellTraffic(const Call& call) {
    Store* store = find(call.params[0]);
    if (store == nullptr) return;
    const Locked lock(store->mutex);
    std::memcpy(call[0].data, &store->traffic, sizeof store->traffic);
    store->traffic = {};
  }
};

}  // namespace GRAFT_ISA
}  // namespace graft
