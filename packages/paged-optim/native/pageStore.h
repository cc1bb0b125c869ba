// Pages between frames in memory and a spill file: the same as src/PageStore.ts, but on two threads of its own.
//
// `prefetch` hands a frame over: what it holds is written back if it changed, then the wanted page is read, or zeroed where
// it was never written, whatever lies in the file. `bring` waits for that, or does it there and then. Between the two nobody
// else touches the frame; a page always goes through the same frame, so no order among frames matters.
#pragma once

#include <graft/stores.h>

#include <cstdio>
#include <cstdlib>

#include <fcntl.h>

namespace graft {
namespace GRAFT_ISA {

constexpr int kMovers = 2;
/** Before the pages (src/SpillFolder.ts). */
constexpr int64_t kHeaderBytes = 4096;

struct Frame {
  unsigned char* memory;
  int64_t page = kNone;
  /** What it is being moved to, while it moves. */
  int64_t next = kNone;
  bool changed = false;
  bool moving = false;
  /** Came by a prefetch that nobody has asked for yet. */
  bool ahead = false;
};

struct Store {
  Store* behind;
  double id;
  /** graft_pool.self of the queue whose memory the frames are. */
  const void* queue;
  int file;
  int64_t frameCount, pageBytes;
  Frame* frames;
  bool* written;
  /** Frames that wait for a mover, first in, first out. */
  int64_t* waiting;
  int64_t taken, given;
  bool stopping;
  Traffic traffic;
  /** The first error; nothing moves after it. */
  char error[256];
  int movers;
  pthread_t threads[kMovers];
  pthread_mutex_t mutex;
  pthread_cond_t wanted, moved;
};

static int writeWhole(int file, const unsigned char* from, int64_t bytes, int64_t position) {
  while (bytes > 0) {
    const ssize_t done = pwrite(file, from, static_cast<size_t>(bytes), position);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done == 0 ? EIO : errno;
    from += done, bytes -= done, position += done;
  }
  return 0;
}

/** Keeps the first error. Under the lock. */
static void fail(Store& store, const char* doing, int64_t page, int error) {
  if (store.error[0] != 0) return;
  std::snprintf(store.error, sizeof store.error, "%s page %lld of the spill file: %s", doing, static_cast<long long>(page),
                error == ENODATA ? "it was cut while the run used it" : std::strerror(error));
}

/** Moves a frame to its next page. Called with the lock held, which is free while bytes move. */
static void move(Store& store, Frame& frame, bool reads) {
  const int64_t out = frame.changed ? frame.page : kNone, in = frame.next;
  const bool found = reads && store.written[in];
  unsigned char* const memory = frame.memory;
  const auto bytes = static_cast<size_t>(store.pageBytes) & (SIZE_MAX >> 1);
  int failed = 0;
  bool writing = false;
  pthread_mutex_unlock(&store.mutex);
  if (out != kNone) {
    failed = writeWhole(store.file, memory, store.pageBytes, kHeaderBytes + out * store.pageBytes);
    writing = failed != 0;
  }
  if (failed == 0) {
    if (found) failed = readWhole(store.file, memory, store.pageBytes, store.pageBytes, kHeaderBytes + in * store.pageBytes);
    else std::memset(memory, 0, bytes);
  }
  pthread_mutex_lock(&store.mutex);
  if (failed != 0) fail(store, writing ? "writing" : "reading", writing ? out : in, failed);
  if (out != kNone) {
    store.written[out] = true;
    store.traffic.bytesOut += double(store.pageBytes);
  }
  if (found) store.traffic.bytesIn += double(store.pageBytes);
  frame.page = in;
  frame.changed = false;
}

static void* mover(void* self) {
  useAnyCore();
  Store& store = *static_cast<Store*>(self);
  const Locked lock(store.mutex);
  for (;;) {
    while (store.taken == store.given && !store.stopping) pthread_cond_wait(&store.wanted, &store.mutex);
    if (store.taken == store.given) return nullptr;  // what waits is done even when stopping: somebody may wait for it
    Frame& frame = store.frames[store.waiting[store.taken++ % store.frameCount]];
    if (store.error[0] == 0) move(store, frame, true);
    frame.moving = false;
    pthread_cond_broadcast(&store.moved);
  }
}

/** Under the lock. */
static void waitFor(Store& store, Frame& frame) {
  while (frame.moving) pthread_cond_wait(&store.moved, &store.mutex);
}

/** False after an error of the file. */
static bool bringPage(Store& store, int64_t index, unsigned char* memory, int64_t page, bool reads, bool writes) {
  const Locked lock(store.mutex);
  Frame& frame = store.frames[index];
  bool waited = false;
  double since = 0;
  if (frame.moving || frame.page != page) {
    waited = true;
    since = secondsNow();
  }
  waitFor(store, frame);
  frame.memory = memory;
  if (store.error[0] == 0 && frame.page != page) {
    frame.next = page;
    frame.ahead = true;
    move(store, frame, reads);
  }
  if (waited) store.traffic.stallSeconds += secondsNow() - since;
  if (frame.ahead) (waited ? store.traffic.faults : store.traffic.hits) += 1;
  frame.ahead = false;
  if (writes) frame.changed = true;
  return store.error[0] == 0;
}

static void prefetchPage(Store& store, int64_t index, unsigned char* memory, int64_t page) {
  const Locked lock(store.mutex);
  Frame& frame = store.frames[index];
  if (store.error[0] != 0 || frame.moving || frame.page == page) return;
  frame.memory = memory;
  frame.next = page;
  frame.moving = frame.ahead = true;
  store.waiting[store.given++ % store.frameCount] = index;
  pthread_cond_signal(&store.wanted);
}

/** Waits for what moves, joins the threads, closes the file. */
static void closeStore(Store* store) {
  {
    const Locked lock(store->mutex);
    store->stopping = true;
    pthread_cond_broadcast(&store->wanted);
  }
  for (int i = 0; i < store->movers; i++) pthread_join(store->threads[i], nullptr);
  if (store->file >= 0) close(store->file);
  pthread_cond_destroy(&store->wanted);
  pthread_cond_destroy(&store->moved);
  pthread_mutex_destroy(&store->mutex);
  std::free(store->frames);
  std::free(store->written);
  std::free(store->waiting);
  std::free(store);
}

/** Without file and threads yet; null: no memory. */
static Store* makeStore(double id, const void* queue, int64_t frames, int64_t pages, int64_t pageBytes) {
  auto* store = static_cast<Store*>(std::calloc(1, sizeof(Store)));
  if (store == nullptr) return nullptr;
  store->id = id;
  store->queue = queue;
  store->file = -1;
  store->frameCount = frames;
  store->pageBytes = pageBytes;
  pthread_mutex_init(&store->mutex, nullptr);
  pthread_cond_init(&store->wanted, nullptr);
  pthread_cond_init(&store->moved, nullptr);
  store->frames = static_cast<Frame*>(std::malloc(static_cast<size_t>(frames) * sizeof(Frame)));
  store->written = static_cast<bool*>(std::calloc(static_cast<size_t>(pages), sizeof(bool)));
  store->waiting = static_cast<int64_t*>(std::calloc(static_cast<size_t>(frames), sizeof(int64_t)));
  if (store->frames == nullptr || store->written == nullptr || store->waiting == nullptr) {
    closeStore(store);
    return nullptr;
  }
  for (int64_t i = 0; i < frames; i++) store->frames[i] = Frame{};
  return store;
}

static bool startMovers(Store& store) {
  for (; store.movers < kMovers; store.movers++)
    if (pthread_create(&store.threads[store.movers], nullptr, mover, &store) != 0) return store.movers > 0;
  return true;
}

}  // namespace GRAFT_ISA
}  // namespace graft
