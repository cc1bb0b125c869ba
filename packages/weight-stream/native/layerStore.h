// Layers of a file in frames of memory: the same as src/LayerReader.ts, but read ahead on threads of their own.
//
// `prefetch` says which layer a frame shall hold, `bring` waits until it does. Between the two nobody else touches the frame.
// A layer is a list of segments of files; threads take pieces of them in turn, so that a disk sees several requests. Bytes
// come past the page cache (O_DIRECT) where the file system has that: through a buffer, since neither the tensors of a file
// nor their places in a frame lie at whole blocks. Elsewhere what was read is given back to the system at once.
#pragma once

#include <graft/stores.h>

#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <sys/stat.h>

namespace graft {
namespace GRAFT_ISA {

constexpr int kReaders = 2;
/** What direct reads begin and end at. */
constexpr int64_t kBlock = 4096;
/** What is read at once. */
constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr int64_t kBufferBytes = kPieceBytes + 2 * kBlock;
constexpr int64_t kPathBytes = 4096;

struct File {
  char path[kPathBytes];
  int plain, direct;
  int64_t size, seconds, nanoseconds;
};
/** Bytes [offset, offset + bytes) of a file, which lie at `to` in a frame. */
struct Segment {
  int64_t file, offset, bytes, to;
};
struct Frame {
  unsigned char* memory;
  /** What it holds whole. */
  int64_t layer;
  /** What it is filled with, and how far that is given out: while it moves. */
  int64_t next, segment, inSegment;
  int64_t piecesOut;
  bool moving;
  /** Came by a prefetch that nobody has asked for yet. */
  bool ahead;
};

struct Store {
  Store* behind;
  double id;
  /** graft_pool.self of the queue whose memory the frames are. */
  const void* queue;
  int64_t fileCount, layerCount, segmentCount, frameCount;
  File* files;
  /** Of layer i: segments [first[i], first[i + 1]). */
  int64_t* first;
  Segment* segments;
  Frame* frames;
  /** Frames with pieces to give out: [taken, given) of a ring. What is waited for goes to its front. */
  int64_t* waiting;
  int64_t taken, given;
  bool stopping;
  Traffic traffic;
  /** The first error; nothing moves after it. */
  char error[kPathBytes + 256];
  int readers;
  pthread_t threads[kReaders];
  unsigned char* buffers[kReaders];
  int buffersGiven;
  pthread_mutex_t mutex;
  pthread_cond_t wanted, moved;
};

static int readPiece(const File& file, unsigned char* buffer, unsigned char* to, int64_t offset, int64_t bytes) {
  if (file.direct >= 0) {
    const int64_t from = offset / kBlock * kBlock, wanted = offset + bytes - from;
    const int failed = readWhole(file.direct, buffer, (wanted + kBlock - 1) / kBlock * kBlock, wanted, from);
    if (failed == 0) std::memcpy(to, buffer + (offset - from), static_cast<size_t>(bytes) & (SIZE_MAX >> 1));
    if (failed != EINVAL) return failed;
    // This file system opens directly and does not read so.
  }
  const int failed = readWhole(file.plain, to, bytes, bytes, offset);
#if defined(POSIX_FADV_DONTNEED)
  posix_fadvise(file.plain, offset, bytes, POSIX_FADV_DONTNEED);
#endif
  return failed;
}

struct Status {
  int64_t size, seconds, nanoseconds;
};
static bool statusOf(int file, Status& status) {
  struct stat found;
  if (fstat(file, &found) != 0) return false;
#if defined(__APPLE__)
  status = {found.st_size, found.st_mtimespec.tv_sec, found.st_mtimespec.tv_nsec};
#else
  status = {found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec};
#endif
  return true;
}
static bool isAsOpened(const File& file) {
  Status now;
  return statusOf(file.plain, now) && now.size == file.size && now.seconds == file.seconds && now.nanoseconds == file.nanoseconds;
}
/** Opens a file whose path and size are known; false: it is another, or errno says why. */
static bool openFile(File& file) {
  file.plain = open(file.path, O_RDONLY | O_CLOEXEC);
  if (file.plain < 0) return false;
#if defined(O_DIRECT)
  file.direct = open(file.path, O_RDONLY | O_CLOEXEC | O_DIRECT);
#elif defined(F_NOCACHE)
  fcntl(file.plain, F_NOCACHE, 1);
#endif
  Status now;
  errno = 0;
  if (!statusOf(file.plain, now) || now.size != file.size) return false;
  file.seconds = now.seconds, file.nanoseconds = now.nanoseconds;
  return true;
}

/** Keeps the first error. Under the lock. */
static void fail(Store& store, const File& file, int64_t layer, const char* problem) {
  if (store.error[0] == 0)
    std::snprintf(store.error, sizeof store.error, "reading layer %lld from %s: %s", static_cast<long long>(layer), file.path, problem);
}

/** Fills a frame as far as nobody else does. Called with the lock held, which is free while bytes move. */
static void readNext(Store& store, unsigned char* buffer) {
  const int64_t index = store.waiting[store.taken % store.frameCount];
  Frame& frame = store.frames[index];
  const Segment& segment = store.segments[frame.segment];
  const int64_t at = frame.inSegment, rest = segment.bytes - at, bytes = rest < kPieceBytes ? rest : kPieceBytes;
  frame.inSegment += bytes;
  if (frame.inSegment == segment.bytes) frame.segment++, frame.inSegment = 0;
  if (frame.segment == store.first[frame.next + 1]) store.taken++;
  frame.piecesOut++;
  const File& file = store.files[segment.file];
  int failed = 0;
  if (store.error[0] == 0) {
    pthread_mutex_unlock(&store.mutex);
    failed = readPiece(file, buffer, frame.memory + segment.to + at, segment.offset + at, bytes);
    pthread_mutex_lock(&store.mutex);
  }
  if (failed != 0)
    fail(store, file, frame.next, failed == ENODATA ? "it was cut while the run used it; prepare it again" : std::strerror(failed));
  store.traffic.bytesIn += double(bytes);
  frame.piecesOut--;
  if (frame.segment != store.first[frame.next + 1] || frame.piecesOut > 0) return;
  for (int64_t i = store.first[frame.next]; i < frame.segment; i++) {
    const File& whole = store.files[store.segments[i].file];
    if ((i == store.first[frame.next] || store.segments[i].file != store.segments[i - 1].file) && !isAsOpened(whole))
      fail(store, whole, frame.next, "it was changed while the run used it; prepare it again");
  }
  frame.layer = frame.next;
  frame.moving = false;
  pthread_cond_broadcast(&store.moved);
}

static void* reader(void* self) {
  useAnyCore();
  Store& store = *static_cast<Store*>(self);
  const Locked lock(store.mutex);
  unsigned char* buffer = store.buffers[store.buffersGiven++];
  for (;;) {
    while (store.taken == store.given && !store.stopping) pthread_cond_wait(&store.wanted, &store.mutex);
    if (store.stopping) return nullptr;
    readNext(store, buffer);
  }
}

/** Under the lock. */
static void fill(Store& store, Frame& frame, unsigned char* memory, int64_t layer, bool atOnce) {
  frame.memory = memory;
  frame.next = layer;
  frame.layer = kNone;
  frame.ahead = true;
  frame.segment = store.first[layer], frame.inSegment = 0;
  if (frame.segment == store.first[layer + 1]) {
    frame.layer = layer;
    return;
  }
  frame.moving = true;
  const int64_t index = &frame - store.frames;
  if (atOnce) store.waiting[--store.taken % store.frameCount] = index;
  else store.waiting[store.given++ % store.frameCount] = index;
  pthread_cond_broadcast(&store.wanted);
}

/** False after an error of the file. */
static bool bringLayer(Store& store, int64_t index, unsigned char* memory, int64_t layer) {
  const Locked lock(store.mutex);
  Frame& frame = store.frames[index];
  const bool waits = frame.moving || frame.layer != layer;
  const double since = waits ? secondsNow() : 0;
  const auto settle = [&] {
    while (frame.moving) pthread_cond_wait(&store.moved, &store.mutex);
  };
  settle();
  if (store.error[0] == 0 && frame.layer != layer) {
    fill(store, frame, memory, layer, true);
    settle();
  }
  if (waits) store.traffic.stallSeconds += secondsNow() - since;
  if (frame.ahead) (waits ? store.traffic.faults : store.traffic.hits) += 1;
  frame.ahead = false;
  return store.error[0] == 0;
}

static void prefetchLayer(Store& store, int64_t index, unsigned char* memory, int64_t layer) {
  const Locked lock(store.mutex);
  Frame& frame = store.frames[index];
  if (store.error[0] == 0 && !frame.moving && frame.layer != layer) fill(store, frame, memory, layer, false);
}

/** Ends the threads, whatever waits; closes the files. */
static void closeStore(Store* store) {
  {
    const Locked lock(store->mutex);
    store->stopping = true;
    pthread_cond_broadcast(&store->wanted);
  }
  for (int i = 0; i < store->readers; i++) pthread_join(store->threads[i], nullptr);
  for (int64_t i = 0; store->files != nullptr && i < store->fileCount; i++) {
    if (store->files[i].plain >= 0) close(store->files[i].plain);
    if (store->files[i].direct >= 0) close(store->files[i].direct);
  }
  for (unsigned char* buffer : store->buffers) std::free(buffer);
  pthread_cond_destroy(&store->wanted);
  pthread_cond_destroy(&store->moved);
  pthread_mutex_destroy(&store->mutex);
  std::free(store->files);
  std::free(store->first);
  std::free(store->segments);
  std::free(store->frames);
  std::free(store->waiting);
  std::free(store);
}

/** Zeroed, so that closeStore knows what is there. */
template <class T>
static T* zeroed(int64_t count) {
  return static_cast<T*>(std::calloc(static_cast<size_t>(count) & (SIZE_MAX >> 8), sizeof(T)));
}

/** Without files and threads yet; null: no memory. */
static Store* makeStore(double id, const void* queue, int64_t files, int64_t layers, int64_t segments, int64_t frames) {
  auto* store = zeroed<Store>(1);
  if (store == nullptr) return nullptr;
  store->id = id;
  store->queue = queue;
  store->fileCount = files, store->layerCount = layers, store->segmentCount = segments, store->frameCount = frames;
  // In the middle: places in front of the first are wanted too.
  store->taken = store->given = (int64_t{1} << 40) * frames;
  pthread_mutex_init(&store->mutex, nullptr);
  pthread_cond_init(&store->wanted, nullptr);
  pthread_cond_init(&store->moved, nullptr);
  store->files = zeroed<File>(files);
  store->first = zeroed<int64_t>(layers + 1);
  store->segments = zeroed<Segment>(segments + 1);
  store->frames = zeroed<Frame>(frames);
  store->waiting = zeroed<int64_t>(frames);
  bool whole = store->files != nullptr && store->first != nullptr && store->segments != nullptr && store->frames != nullptr && store->waiting != nullptr;
  for (int64_t i = 0; store->files != nullptr && i < files; i++) store->files[i].plain = store->files[i].direct = -1;
  for (unsigned char*& buffer : store->buffers) {
    void* memory = nullptr;
    if (posix_memalign(&memory, size_t{kBlock}, size_t{kBufferBytes}) != 0) whole = false;
    else buffer = static_cast<unsigned char*>(memory);
  }
  if (!whole) {
    closeStore(store);
    return nullptr;
  }
  for (int64_t i = 0; i < frames; i++) store->frames[i].layer = store->frames[i].next = kNone;
  return store;
}

static bool startReaders(Store& store) {
  for (; store.readers < kReaders; store.readers++)
    if (pthread_create(&store.threads[store.readers], nullptr, reader, &store) != 0) return store.readers > 0;
  return true;
}

}  // namespace GRAFT_ISA
}  // namespace graft
