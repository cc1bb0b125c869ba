// The workers of one queue. The queue's own thread is worker 0; the others are started here.
// Idle workers spin for some microseconds, since a step is a dense row of short kernels, then sleep.
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
  void takeIndices(int worker);
  void work(int worker);
  void waitUntilIdle();

  Pool pool_;
  void* owner_;
  void (*setFault_)(void* owner, const char* message);
  Mapping scratch_;

  // The job. Written by worker 0 while no other worker is inside.
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
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
