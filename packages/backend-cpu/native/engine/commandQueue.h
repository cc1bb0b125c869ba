// The ordered queue: one thread runs the commands one after the other, each on all workers of its pool.
// Methods are called on the JavaScript thread that opened it; the listener is called on the queue thread.
//
// Fault: the first error of the outside world sticks. Later commands do nothing and reads report it.
// Cancel: what is queued and not begun is dropped, an atomic group whole or not at all; no fault, later commands run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "command.h"
#include "fileReader.h"
#include "isa.h"
#include "threadPool.h"

namespace graft {

struct Fault {
  std::string op;
  std::string message;
};

enum class ReadOutcome { done, cancelled, faulted };

/** What the JavaScript side must hear of; on the queue thread, so an implementation only takes note and signals. */
class QueueListener {
 public:
  virtual ~QueueListener() = default;
  virtual void readSettled(void* request, ReadOutcome outcome, const Fault& fault) = 0;
  /** A host body's turn: `run` false says that it was dropped or skipped, and nobody waits for hostDone. */
  virtual void hostDue(double token, bool run) = 0;
  virtual void drained() = 0;
};

class CommandQueue {
 public:
  CommandQueue(int threads, Isa isa, const std::vector<size_t>& arenaBytes, QueueListener& listener);
  CommandQueue(const CommandQueue&) = delete;
  ~CommandQueue();

  const Arenas& arenas() const { return arenas_; }
  Isa isa() const { return isa_; }

  void enqueueKernel(const double* doubles, size_t length);
  void enqueueHost(const std::string& op, double token, int outputs, const double* doubles, size_t length);
  /** Ends the wait of the host body `token`; an error becomes the fault. */
  void hostDone(double token, const std::optional<std::string>& error);
  void upload(double arena, double offset, const unsigned char* bytes, size_t count);
  void uploadFile(double arena, double offset, const std::string& path, double fileOffset, double count);
  /** `to` must stay valid until the listener hears of `request`. */
  void read(double arena, double offset, unsigned char* to, size_t count, void* request);
  void poison(double arena, double offset, double count);
  void record(bool on);
  /** [op, hash of its outputs] of what ran since the last call. */
  std::vector<std::pair<std::string, uint64_t>> takeFlight();
  /** Turns timing on or off, at once. */
  void time(bool on) { timing_.store(on); }
  /** (number of the command, begin, end) in nanoseconds of one clock, of what ran since the last call. */
  std::vector<double> takeTimes();
  void atomicBegin();
  void atomicEnd();
  void cancel();
  /** The last command: the listener hears `drained` when everything before it is done. */
  void close();
  /** Drops what has not begun, waits for what has, joins all threads. The memory stays until the queue is destroyed. */
  void shutDown();

  uint64_t submitted() const { return ring_.appended(); }
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }
  /** Bytes of copied uploads that wait for their turn. */
  uint64_t uploadBytesPending() const { return uploadBytes_.load(std::memory_order_relaxed); }

 private:
  // JavaScript thread.
  void refuseIfClosed(const char* what) const;
  void submit();

  // Queue thread.
  void work();
  bool waitForCommand();
  void execute(CommandHeader& header, bool dropped);
  void runKernel(KernelCommand& command);
  void runHost(HostCommand& command, bool dropped);
  void runUpload(UploadCommand& command, bool dropped);
  void runRead(ReadCommand& command, bool dropped);
  void setFault(const std::string& op, const std::string& message);
  bool faulted() const { return faulted_.load(std::memory_order_acquire); }
  Fault fault();
  void note(const std::string& op, const Operand* outputs, int count);

  const Isa isa_;
  QueueListener& listener_;
  Arenas arenas_;
  CommandRing ring_;
  FileReader files_;

  // Of the JavaScript thread.
  bool closed_ = false;
  int atomicDepth_ = 0;

  // Of the queue thread.
  const std::string* running_ = nullptr;
  bool recording_ = false;
  bool dropping_ = false;
  uint64_t groupEnd_ = 0;
  bool drained_ = false;

  // Shared: on its own line what changes with every command, then what is looked at with every command.
  alignas(64) std::atomic<uint64_t> completed_{0};
  alignas(64) std::atomic<uint64_t> dropUntil_{0};
  std::atomic<uint64_t> uploadBytes_{0};
  std::atomic<bool> faulted_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> timing_{false};
  alignas(64) std::mutex mutex_;
  std::condition_variable wake_;
  Fault fault_;                                            // under mutex_
  std::optional<double> awaitedHost_;                      // under mutex_
  std::vector<std::pair<std::string, uint64_t>> flight_;   // under mutex_
  std::vector<double> times_;                              // under mutex_

  std::optional<ThreadPool> pool_;
  std::thread thread_;
};

}  // namespace graft
