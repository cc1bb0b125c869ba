// The workers of one queue. The queue's own thread is worker 0; the others are started here.
// Idle workers spin for some microseconds, since a step is a dense row of short kernels, then sleep.
//
// Each worker has a part of a job's indices, the same part of every job as long as it keeps up, and helps the others when
// its own is done: rows that one kernel wrote are mostly read, and written over, by the core that has them in its caches.
#pragma once

#include <graft/kernel.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "mapping.h"

namespace graft {

class ThreadPool {
 public:
  ThreadPool(int threads, void (*setFault)(void* owner, const char* message), void* owner);
  ThreadPool(const ThreadPool&) = delete;
  ~ThreadPool();
  Pool& pool() { return pool_; }

  /** Bytes that a pool of `threads` workers takes for scratch, as the plan counts them. */
  static size_t bytesFor(int threads);

 private:
  using Task = void (*)(void* context, int64_t index, int worker);
  static void runParallel(void* self, int64_t count, Task task, void* context);
  void run(int64_t count, Task task, void* context);
  void runJob(Task task, void* context, int64_t count);
  void takeIndices(int worker);
  bool takeOwn(int worker, int64_t& index);
  bool takeOther(int worker, int64_t& index);
  void work(int worker);
  void waitUntilIdle();

  Pool pool_;
  void* owner_;
  void (*setFault_)(void* owner, const char* message);
  Mapping scratch_;

  // The job. Written by worker 0 while no other worker is inside.
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t first_ = 0;
  /** What is left of a worker's part, its end above its beginning: its own worker takes from the front, others from the back. */
  struct alignas(64) Part {
    std::atomic<uint64_t> left{0};
  };
  std::vector<Part> parts_;
  /** Odd while a job is open to join; each job has its own. */
  alignas(64) std::atomic<uint64_t> ticket_{0};
  /** Workers that joined the open job, or are looking whether it is still open. */
  alignas(64) std::atomic<int> inside_{0};

  std::mutex mutex_;
  std::condition_variable jobOpened_;
  std::condition_variable allLeft_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> waitingForIdle_{false};
  bool stopping_ = false;  // under mutex_
  std::vector<std::thread> workers_;
};

}  // namespace graft
