// A job is a range of indices that workers take from. It is opened by making the ticket odd and closed by making it even;
// a worker first counts itself in and then looks at the ticket again, so that worker 0, which closes first and then
// waits for the count to be zero, never changes a job under somebody's feet. A worker that wakes late finds the job
// closed and sleeps on: nobody waits for a worker that has not joined.
#include "threadPool.h"

#include "cores.h"
#include "spin.h"

#include <algorithm>

namespace graft {

using namespace std::chrono_literals;

/** The gap between two kernels of a step is shorter than this; anything longer is worth a sleep. */
static constexpr auto idleSpin = 40us;
/** The last index of another worker; longer than this and that worker has probably lost its core to somebody. */
static constexpr auto finishSpin = 100us;

/** Indices of one job: a part's two ends share 64 bits. */
static constexpr int64_t mostAtOnce = int64_t{1} << 31;
static constexpr uint64_t range(int64_t begin, int64_t end) { return static_cast<uint64_t>(end) << 32 | static_cast<uint64_t>(begin); }
static constexpr int64_t beginOf(uint64_t range) { return static_cast<int64_t>(range & 0xffffffffu); }
static constexpr int64_t endOf(uint64_t range) { return static_cast<int64_t>(range >> 32); }

/** The worker that this thread is in the job it is running, else -1. */
static thread_local int currentWorker = -1;

size_t ThreadPool::bytesFor(int threads) {
  return sharedScratchBytes + static_cast<size_t>(threads) * scratchBytesPerWorker;
}

ThreadPool::ThreadPool(int threads, void (*setFault)(void*, const char*), void* owner)
    : owner_(owner), setFault_(setFault), scratch_(bytesFor(threads)), parts_(static_cast<size_t>(threads)) {
  pool_.threads = threads;
  pool_.self = this;
  pool_.runParallel = runParallel;
  pool_.sharedBase = scratch_.data();
  pool_.sharedBytes = sharedScratchBytes;
  pool_.scratchBase = scratch_.data() + sharedScratchBytes;
  pool_.scratchBytes = scratchBytesPerWorker;
  pool_.setFault = [](void* self, const char* message) {
    auto& pool = *static_cast<ThreadPool*>(self);
    pool.setFault_(pool.owner_, message);
  };
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  jobOpened_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::runParallel(void* self, int64_t count, Task task, void* context) {
  static_cast<ThreadPool*>(self)->run(count, task, context);
}

void ThreadPool::run(int64_t count, Task task, void* context) {
  if (currentWorker >= 0) {  // from within a task
    for (int64_t index = 0; index < count; ++index) task(context, index, currentWorker);
    return;
  }
  currentWorker = 0;
  if (count <= 1 || workers_.empty()) {
    for (int64_t index = 0; index < count; ++index) task(context, index, 0);
    currentWorker = -1;
    return;
  }
  for (first_ = 0; first_ < count; first_ += mostAtOnce) runJob(task, context, std::min(count - first_, mostAtOnce));
  currentWorker = -1;
}

/** Indices [first_, first_ + count). */
void ThreadPool::runJob(Task task, void* context, int64_t count) {
  task_ = task;
  context_ = context;
  const auto threads = static_cast<int64_t>(parts_.size());
  for (int64_t worker = 0; worker < threads; ++worker)
    parts_[static_cast<size_t>(worker)].left.store(range(count * worker / threads, count * (worker + 1) / threads), std::memory_order_relaxed);
  ticket_.fetch_add(1);  // opens; sequentially consistent, as is the sleeper's look at it
  if (sleeping_.load() > 0) {
    const std::lock_guard lock(mutex_);
    jobOpened_.notify_all();
  }
  takeIndices(0);
  ticket_.fetch_add(1);  // closes
  waitUntilIdle();
}

void ThreadPool::takeIndices(int worker) {
  for (int64_t index; takeOwn(worker, index) || takeOther(worker, index);) task_(context_, first_ + index, worker);
}

bool ThreadPool::takeOwn(int worker, int64_t& index) {
  auto& left = parts_[static_cast<size_t>(worker)].left;
  for (uint64_t now = left.load(std::memory_order_relaxed); beginOf(now) < endOf(now);) {
    index = beginOf(now);
    if (left.compare_exchange_weak(now, range(index + 1, endOf(now)), std::memory_order_relaxed)) return true;
  }
  return false;
}

bool ThreadPool::takeOther(int worker, int64_t& index) {
  const size_t threads = parts_.size();
  for (size_t step = 1; step < threads; ++step) {
    auto& left = parts_[(static_cast<size_t>(worker) + step) % threads].left;
    for (uint64_t now = left.load(std::memory_order_relaxed); beginOf(now) < endOf(now);) {
      index = endOf(now) - 1;
      if (left.compare_exchange_weak(now, range(beginOf(now), index), std::memory_order_relaxed)) return true;
    }
  }
  return false;
}

void ThreadPool::waitUntilIdle() {
  const auto idle = [this] { return inside_.load() == 0; };
  if (spinFor(finishSpin, idle)) return;
  std::unique_lock lock(mutex_);
  waitingForIdle_.store(true);
  allLeft_.wait(lock, idle);
  waitingForIdle_.store(false);
}

void ThreadPool::work(int worker) {
  keepToCore(worker, pool_.threads);
  currentWorker = worker;
  uint64_t last = 0;  // tickets of jobs are odd
  const auto opened = [&] {
    const uint64_t ticket = ticket_.load();
    return (ticket & 1) != 0 && ticket != last;
  };
  for (;;) {
    if (!spinFor(idleSpin, opened)) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1);
      jobOpened_.wait(lock, [&] { return stopping_ || opened(); });
      sleeping_.fetch_sub(1);
      if (stopping_) return;
    }
    const uint64_t ticket = ticket_.load();
    if ((ticket & 1) == 0) continue;
    inside_.fetch_add(1);
    if (ticket_.load() == ticket) {
      takeIndices(worker);
      last = ticket;
    }
    if (inside_.fetch_sub(1) == 1 && waitingForIdle_.load()) {
      const std::lock_guard lock(mutex_);
      allLeft_.notify_one();
    }
  }
}

}  // namespace graft
