// A queue as one JavaScript environment sees it: promises for its reads, calls for host bodies, and the rule that the
// process stays alive while something is awaited and no longer.
#pragma once

#include <node_api.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "commandQueue.h"

namespace graft {

class Session;

/** The sessions of one environment by handle, null once closed. Shared with them: which of them ends first is the runtime's affair. */
struct Environment {
  std::vector<Session*> sessions;
};

class Session final : public QueueListener {
 public:
  /**
   * Returns the handle. `onHost(token, run)`: with `run` the queue waits until hostDone(token). Throws what the queue
   * throws. The session deletes itself when its environment lets go of it, after close or at the environment's end.
   */
  static int open(napi_env env, const std::shared_ptr<Environment>& environment, int threads, Isa isa,
                  const std::vector<size_t>& arenaBytes, napi_value onHost);

  CommandQueue& queue() { return *queue_; }
  napi_value read(double arena, double offset, double bytes);
  /** Into memory of JavaScript's, which `owner` keeps alive: resolves to nothing. */
  napi_value readInto(double arena, double offset, unsigned char* data, size_t bytes, napi_value owner);
  void enqueueHost(const std::string& op, double token, int outputs, const double* doubles, size_t length);
  napi_value view(double arena, double offset, double bytes);
  napi_value close();

 private:
  struct ReadRequest {
    napi_deferred deferred;
    napi_ref buffer;
    bool answers;  // with the buffer
  };
  struct Event {
    enum class Kind { read, host, drained } kind;
    ReadRequest* request;
    ReadOutcome outcome;
    Fault fault;
    double token;
    bool run;
  };

  Session(napi_env env, std::shared_ptr<Environment> environment) : env_(env), environment_(std::move(environment)) {}

  napi_value enqueueRead(double arena, double offset, unsigned char* data, size_t bytes, napi_value buffer, bool answers);

  // Queue thread.
  void readSettled(void* request, ReadOutcome outcome, const Fault& fault) override;
  void hostDue(double token, bool run) override;
  void drained() override;
  void post(Event event);

  // JavaScript thread.
  void expect();
  void settled();
  void deliver();
  void settleRead(const Event& event);
  void callHost(const Event& event);
  void finishClose();
  /** Joins the threads, frees the memory, gives the handle up. */
  void stop();
  static void onWake(napi_env env, napi_value callback, void* context, void* data);
  static void onGone(napi_env env, void* session, void* hint);
  static void onEnvironmentEnd(void* session);

  napi_env env_;
  std::shared_ptr<Environment> environment_;
  size_t handle_ = 0;
  std::unique_ptr<CommandQueue> queue_;
  napi_threadsafe_function wakeJavaScript_ = nullptr;
  napi_ref onHost_ = nullptr;
  napi_deferred closing_ = nullptr;
  int awaited_ = 0;  // reads, host bodies and the close that JavaScript has not heard of yet

  std::mutex mutex_;
  std::vector<Event> events_;  // under mutex_
  bool woken_ = false;         // under mutex_
};

}  // namespace graft
