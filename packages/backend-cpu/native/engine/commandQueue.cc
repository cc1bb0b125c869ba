#include "commandQueue.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "contentHash.h"
#include "cores.h"
#include "failure.h"
#include "plugins.h"
#include "spin.h"

namespace graft {

using namespace std::chrono_literals;

/** How long the queue thread looks for the next command before it sleeps. */
static constexpr auto idleSpin = 40us;
/** Copies and fills longer than a piece are shared by the workers. */
static constexpr size_t pieceBytes = size_t{1} << 20;

template <class PieceOf>
static void inPieces(const Pool& pool, size_t bytes, const PieceOf& pieceOf) {
  pool.parallel(static_cast<int64_t>((bytes + pieceBytes - 1) / pieceBytes), [&](int64_t piece, int) {
    const size_t from = static_cast<size_t>(piece) * pieceBytes;
    pieceOf(from, std::min(pieceBytes, bytes - from));
  });
}

CommandQueue::CommandQueue(int threads, Isa isa, const std::vector<size_t>& arenaBytes, QueueListener& listener)
    : isa_(isa), listener_(listener) {
  for (const size_t bytes : arenaBytes) arenas_.push_back(std::make_shared<Mapping>(bytes));
  const auto onFault = [](void* self, const char* message) {
    auto& queue = *static_cast<CommandQueue*>(self);
    queue.setFault(*queue.running_, message);
  };
  pool_.emplace(threads, onFault, this);
  thread_ = std::thread([this] { work(); });
}

CommandQueue::~CommandQueue() {
  shutDown();
  while (ring_.hasNext()) {  // uploads that nobody took
    auto* header = ring_.next();
    if (header->kind == CommandKind::upload) std::free(static_cast<UploadCommand*>(header)->from);
    ring_.pop();
  }
  for (const auto& arena : arenas_) arena->discard();  // views may keep the addresses, not the pages
}

// The JavaScript thread.

void CommandQueue::refuseIfClosed(const char* what) const {
  if (closed_) throw Failure(std::string(what) + ": the queue is closed");
}

void CommandQueue::submit() {
  if (atomicDepth_ > 0) return;  // the group becomes visible at its end
  ring_.publish();
  if (sleeping_.load()) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
}

void CommandQueue::enqueueKernel(const double* doubles, size_t length) {
  refuseIfClosed("enqueue");
  appendKernel(ring_, arenas_, isa_, doubles, length);
  submit();
}

void CommandQueue::enqueueHost(const std::string& op, double token, int outputs, const double* doubles, size_t length) {
  refuseIfClosed(op.c_str());
  appendHost(ring_, arenas_, op, token, outputs, doubles, length);
  submit();
}

void CommandQueue::hostDone(double token, const std::optional<std::string>& error) {
  const std::lock_guard lock(mutex_);
  if (awaitedHost_ != token) {
    throw Failure("hostDone: no host body with token " + std::to_string(token) + " is waited for", FailureKind::range);
  }
  if (error && !faulted()) {
    fault_ = {*running_, *error};
    faulted_.store(true, std::memory_order_release);
  }
  awaitedHost_.reset();
  wake_.notify_all();
}

void CommandQueue::upload(double arena, double offset, const unsigned char* bytes, size_t count) {
  refuseIfClosed("upload");
  auto* to = addressOf(arenas_, arena, offset, static_cast<double>(count), "upload");
  if (submitted() == completed()) {  // nothing is queued or running: in order already, and no second copy
    if (!faulted()) std::memcpy(to, bytes, count);
    return;
  }
  auto* copy = static_cast<unsigned char*>(std::malloc(std::max<size_t>(count, 1)));
  if (copy == nullptr) throw Failure("upload: no memory for a copy of " + std::to_string(count) + " bytes");
  std::memcpy(copy, bytes, count);
  auto* command = ring_.append<UploadCommand>(CommandKind::upload);
  command->to = to;
  command->from = copy;
  command->bytes = count;
  uploadBytes_.fetch_add(count, std::memory_order_relaxed);
  submit();
}

void CommandQueue::uploadFile(double arena, double offset, const std::string& path, double fileOffset, double count) {
  refuseIfClosed("uploadFile");
  auto* to = addressOf(arenas_, arena, offset, count, "uploadFile");
  auto* command = ring_.append<UploadFileCommand>(CommandKind::uploadFile);
  command->to = to;
  command->bytes = static_cast<size_t>(count);
  command->path = &interned(path);
  command->fileOffset = static_cast<int64_t>(fileOffset);
  submit();
}

void CommandQueue::read(double arena, double offset, unsigned char* to, size_t count, void* request) {
  refuseIfClosed("read");
  const auto* from = addressOf(arenas_, arena, offset, static_cast<double>(count), "read");
  auto* command = ring_.append<ReadCommand>(CommandKind::read);
  command->from = from;
  command->to = to;
  command->bytes = count;
  command->request = request;
  submit();
}

void CommandQueue::poison(double arena, double offset, double count) {
  refuseIfClosed("poison");
  auto* at = addressOf(arenas_, arena, offset, count, "poison");
  auto* command = ring_.append<PoisonCommand>(CommandKind::poison);
  command->at = at;
  command->bytes = static_cast<size_t>(count);
  submit();
}

void CommandQueue::record(bool on) {
  refuseIfClosed("record");
  ring_.append<RecordCommand>(CommandKind::record)->on = on;
  submit();
}

std::vector<std::pair<std::string, uint64_t>> CommandQueue::takeFlight() {
  const std::lock_guard lock(mutex_);
  return std::exchange(flight_, {});
}

std::vector<double> CommandQueue::takeTimes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(times_, {});
}

void CommandQueue::atomicBegin() {
  refuseIfClosed("atomicBegin");
  if (atomicDepth_++ == 0) ring_.beginGroup();
}

void CommandQueue::atomicEnd() {
  if (atomicDepth_ == 0) throw Failure("atomicEnd: no group is open");
  if (--atomicDepth_ > 0) return;
  ring_.endGroup();
  submit();
}

void CommandQueue::cancel() { dropUntil_.store(ring_.appended()); }

void CommandQueue::close() {
  refuseIfClosed("close");
  if (atomicDepth_ > 0) throw Failure("close: an atomic group is open");
  closed_ = true;
  ring_.append<CloseCommand>(CommandKind::close);
  submit();
}

void CommandQueue::shutDown() {
  closed_ = true;
  {
    const std::lock_guard lock(mutex_);
    stopping_.store(true);
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  if (pool_) tellQueueClosed(pool_->pool().self);
  pool_.reset();
}

// The queue thread.

static double nanoseconds() {
  return static_cast<double>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

void CommandQueue::work() {
  keepToCore(0, pool_->pool().threads);  // worker 0
  while (!drained_ && waitForCommand()) {
    const uint64_t number = ring_.taken();
    auto* header = ring_.next();
    if (number >= groupEnd_) {  // decided once for a group
      dropping_ = number < dropUntil_.load();
      groupEnd_ = header->groupEnd;
    }
    const bool timing = timing_.load(std::memory_order_relaxed);
    const double begin = timing ? nanoseconds() : 0;
    execute(*header, dropping_);
    if (timing) {
      const std::lock_guard lock(mutex_);
      times_.insert(times_.end(), {static_cast<double>(number), begin, nanoseconds()});
    }
    ring_.pop();
    completed_.store(number + 1, std::memory_order_release);
  }
  files_.closeAll();
}

/** False when the queue is to stop. */
bool CommandQueue::waitForCommand() {
  if (!spinFor(idleSpin, [this] { return ring_.hasNext() || stopping_.load(); })) {
    files_.closeAll();
    std::unique_lock lock(mutex_);
    sleeping_.store(true);
    wake_.wait(lock, [this] { return ring_.hasNext() || stopping_.load(); });
    sleeping_.store(false);
  }
  return !stopping_.load();
}

void CommandQueue::execute(CommandHeader& header, bool dropped) {
  const bool idle = dropped || faulted();
  switch (header.kind) {
    case CommandKind::kernel:
      if (!idle) runKernel(static_cast<KernelCommand&>(header));
      break;
    case CommandKind::host:
      runHost(static_cast<HostCommand&>(header), idle);
      break;
    case CommandKind::upload:
      runUpload(static_cast<UploadCommand&>(header), idle);
      break;
    case CommandKind::uploadFile: {
      auto& command = static_cast<UploadFileCommand&>(header);
      if (idle) break;
      const auto error = files_.read(pool_->pool(), *command.path, command.fileOffset, command.to, command.bytes);
      if (!error.empty()) setFault("uploadFile", error);
      break;
    }
    case CommandKind::read:
      runRead(static_cast<ReadCommand&>(header), dropped);
      break;
    case CommandKind::poison: {
      auto& command = static_cast<PoisonCommand&>(header);
      if (idle) break;
      inPieces(pool_->pool(), command.bytes, [&](size_t from, size_t bytes) { std::memset(command.at + from, 0xff, bytes); });
      break;
    }
    case CommandKind::record:
      if (!dropped) recording_ = static_cast<RecordCommand&>(header).on;
      break;
    case CommandKind::close:
      drained_ = true;
      listener_.drained();
      break;
    case CommandKind::jump: break;  // the ring follows these itself
  }
}

void CommandQueue::runKernel(KernelCommand& command) {
  running_ = &command.kernel->name;
  const Call call{command.operands(), command.operandCount, command.params(),        command.paramCount,
                  command.workspace,  pool_->pool(),        command.resolved.source, command.resolved.scales};
  command.resolved.body(call);
  if (recording_) note(command.kernel->name, command.operands(), std::min(command.kernel->outputs, command.operandCount));
}

void CommandQueue::runHost(HostCommand& command, bool dropped) {
  if (dropped) {
    listener_.hostDue(command.token, false);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    running_ = command.op;
    awaitedHost_ = command.token;
  }
  listener_.hostDue(command.token, true);
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !awaitedHost_ || stopping_.load(); });
    if (awaitedHost_) return;  // the environment ends; nobody will answer
  }
  if (recording_ && !faulted()) note(*command.op, command.operands(), command.outputs);
}

void CommandQueue::runUpload(UploadCommand& command, bool dropped) {
  if (!dropped) {
    inPieces(pool_->pool(), command.bytes,
             [&](size_t from, size_t bytes) { std::memcpy(command.to + from, command.from + from, bytes); });
  }
  std::free(command.from);
  uploadBytes_.fetch_sub(command.bytes, std::memory_order_relaxed);
}

void CommandQueue::runRead(ReadCommand& command, bool dropped) {
  const ReadOutcome outcome = dropped ? ReadOutcome::cancelled : faulted() ? ReadOutcome::faulted : ReadOutcome::done;
  if (outcome == ReadOutcome::done) {
    inPieces(pool_->pool(), command.bytes,
             [&](size_t from, size_t bytes) { std::memcpy(command.to + from, command.from + from, bytes); });
  }
  completed_.store(ring_.taken() + 1, std::memory_order_release);  // who hears of the read finds it among what is done
  listener_.readSettled(command.request, outcome, outcome == ReadOutcome::faulted ? fault() : Fault{});
}

void CommandQueue::setFault(const std::string& op, const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (faulted()) return;
  fault_ = {op, message};
  faulted_.store(true, std::memory_order_release);
}

Fault CommandQueue::fault() {
  const std::lock_guard lock(mutex_);
  return fault_;
}

void CommandQueue::note(const std::string& op, const Operand* outputs, int count) {
  uint64_t hash = 0;
  for (int i = 0; i < count; ++i) hash = contentHash(pool_->pool(), hash, outputs[i]);
  const std::lock_guard lock(mutex_);
  flight_.emplace_back(op, hash);
}

}  // namespace graft
