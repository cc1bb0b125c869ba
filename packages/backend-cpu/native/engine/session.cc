#include "session.h"

#include <utility>

#include "failure.h"
#include "machine.h"
#include "napiValue.h"

namespace graft {

/** Refuses before a page is touched what the machine cannot hold: the alternative is the kernel's killer mid-step. */
static void refuseBeyondMemory(int threads, const std::vector<size_t>& arenaBytes) {
  const uint64_t scratch = ThreadPool::bytesFor(threads), have = usableMemoryBytes();
  uint64_t arenas = 0;
  for (const size_t bytes : arenaBytes) arenas += bytes;
  if (arenas + scratch <= have) return;
  throw Failure("open: arenas of " + std::to_string(arenas) + " bytes and scratch of " + std::to_string(scratch) +
                    " bytes for " + std::to_string(threads) + " threads need " + std::to_string(arenas + scratch) +
                    " bytes, but this process may use " + std::to_string(have) +
                    " (physical memory or its control group's limit); plan a smaller run",
                FailureKind::range);
}

int Session::open(napi_env env, const std::shared_ptr<Environment>& environment, int threads, Isa isa,
                  const std::vector<size_t>& arenaBytes, napi_value onHost) {
  refuseBeyondMemory(threads, arenaBytes);
  std::unique_ptr<Session> session(new Session(env, environment));
  session->queue_ = std::make_unique<CommandQueue>(threads, isa, arenaBytes, *session);
  if (onHost != nullptr) check(env, napi_create_reference(env, onHost, 1, &session->onHost_), "keeping onHost");
  check(env,
        napi_create_threadsafe_function(env, nullptr, nullptr, makeText(env, "graft queue"), 0, 1, session.get(), onGone,
                                        session.get(), onWake, &session->wakeJavaScript_),
        "making a threadsafe function");
  Session* kept = session.release();  // the threadsafe function's from here on
  check(env, napi_unref_threadsafe_function(env, kept->wakeJavaScript_), "unreferencing a threadsafe function");
  // Hooks run last added first: this one joins the queue thread before the runtime takes the threadsafe function away.
  check(env, napi_add_env_cleanup_hook(env, onEnvironmentEnd, kept), "adding a cleanup hook");
  kept->handle_ = environment->sessions.size();
  environment->sessions.push_back(kept);
  return static_cast<int>(kept->handle_);
}

void Session::enqueueHost(const std::string& op, double token, int outputs, const double* doubles, size_t length) {
  if (onHost_ == nullptr) throw Failure(op + ": the queue was opened without onHost, so nobody can run a host body");
  queue_->enqueueHost(op, token, outputs, doubles, length);
  expect();
}

/** What Bun and Node 20 allow an array buffer. */
static constexpr double mostBytes = 4294967296.0;

napi_value Session::read(double arena, double offset, double bytes) {
  if (bytes > mostBytes) {
    throw Failure("read: " + std::to_string(bytes) + " bytes are more than an array buffer's 4 GiB; read in pieces",
                  FailureKind::range);
  }
  addressOf(queue_->arenas(), arena, offset, bytes, "read");  // before an array buffer of that size is made
  void* data = nullptr;
  napi_value buffer = nullptr;
  check(env_, napi_create_arraybuffer(env_, static_cast<size_t>(bytes), &data, &buffer), "making an array buffer");
  return enqueueRead(arena, offset, static_cast<unsigned char*>(data), static_cast<size_t>(bytes), buffer, true);
}

napi_value Session::readInto(double arena, double offset, unsigned char* data, size_t bytes, napi_value owner) {
  return enqueueRead(arena, offset, data, bytes, owner, false);
}

napi_value Session::enqueueRead(double arena, double offset, unsigned char* data, size_t bytes, napi_value buffer, bool answers) {
  napi_value promise = nullptr;
  auto request = std::make_unique<ReadRequest>();
  request->answers = answers;
  check(env_, napi_create_reference(env_, buffer, 1, &request->buffer), "keeping an array buffer");
  try {
    queue_->read(arena, offset, data, bytes, request.get());
  } catch (...) {
    napi_delete_reference(env_, request->buffer);
    throw;
  }
  // The answer comes through this thread's event loop, so the promise is made before anybody settles it.
  check(env_, napi_create_promise(env_, &request->deferred, &promise), "making a promise");
  request.release();
  expect();
  return promise;
}

napi_value Session::view(double arena, double offset, double bytes) {
  if (bytes > mostBytes) {
    throw Failure("view: " + std::to_string(bytes) + " bytes are more than an array buffer's 4 GiB; use several windows",
                  FailureKind::range);
  }
  unsigned char* address = addressOf(queue_->arenas(), arena, offset, bytes, "view");
  auto* owner = new std::shared_ptr<Mapping>(queue_->arenas()[static_cast<size_t>(arena)]);
  const auto drop = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Mapping>*>(hint); };
  napi_value buffer = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(env_, address, static_cast<size_t>(bytes), drop, owner, &buffer);
  if (status != napi_ok) {
    delete owner;
    check(env_, status, "making a view of an arena");
  }
  return buffer;
}

napi_value Session::close() {
  napi_value promise = nullptr;
  queue_->close();
  check(env_, napi_create_promise(env_, &closing_, &promise), "making a promise");
  expect();
  return promise;
}

// The queue thread.

void Session::post(Event event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    if (std::exchange(woken_, true)) return;
  }
  // Fails only when the environment is ending, and then nobody listens.
  napi_call_threadsafe_function(wakeJavaScript_, nullptr, napi_tsfn_nonblocking);
}

void Session::readSettled(void* request, ReadOutcome outcome, const Fault& fault) {
  post({Event::Kind::read, static_cast<ReadRequest*>(request), outcome, fault, 0, false});
}

void Session::hostDue(double token, bool run) { post({Event::Kind::host, nullptr, {}, {}, token, run}); }

void Session::drained() { post({Event::Kind::drained, nullptr, {}, {}, 0, false}); }

// The JavaScript thread.

void Session::expect() {
  if (awaited_++ == 0) napi_ref_threadsafe_function(env_, wakeJavaScript_);
}

void Session::settled() {
  if (--awaited_ == 0) napi_unref_threadsafe_function(env_, wakeJavaScript_);
}

void Session::onWake(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment is ending
  static_cast<Session*>(context)->deliver();
}

void Session::deliver() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
    woken_ = false;
  }
  for (const auto& event : events) {
    if (queue_ == nullptr) return;  // the environment ended within a host body
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env_, &scope);
    settled();
    if (event.kind == Event::Kind::read) settleRead(event);
    if (event.kind == Event::Kind::host) callHost(event);
    if (event.kind == Event::Kind::drained) finishClose();
    napi_close_handle_scope(env_, scope);
  }
}

void Session::settleRead(const Event& event) {
  const std::unique_ptr<ReadRequest> request(event.request);
  if (event.outcome == ReadOutcome::done) {
    napi_value buffer = nullptr;
    if (request->answers) napi_get_reference_value(env_, request->buffer, &buffer);
    napi_resolve_deferred(env_, request->deferred, request->answers ? buffer : makeUndefined(env_));
  } else if (event.outcome == ReadOutcome::cancelled) {
    napi_reject_deferred(env_, request->deferred,
                         makeError(env_, "cancel: what makes the value that was to be read was dropped", "GRAFT_CANCELLED", "cancel"));
  } else {
    napi_reject_deferred(env_, request->deferred,
                         makeError(env_, event.fault.op + ": " + event.fault.message, "GRAFT_FAULT", event.fault.op));
  }
  napi_delete_reference(env_, request->buffer);
}

void Session::callHost(const Event& event) {
  napi_value callback = nullptr, arguments[2] = {makeNumber(env_, event.token), nullptr}, result = nullptr;
  napi_get_boolean(env_, event.run, &arguments[1]);
  napi_get_reference_value(env_, onHost_, &callback);
  if (napi_call_function(env_, makeUndefined(env_), callback, 2, arguments, &result) == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env_, &pending);
  napi_value thrown = nullptr, text = nullptr;
  if (!pending || napi_get_and_clear_last_exception(env_, &thrown) != napi_ok) return;
  if (!event.run || queue_ == nullptr) {
    napi_fatal_exception(env_, thrown);
    return;
  }
  napi_value message = nullptr;
  bool isError = false;
  napi_is_error(env_, thrown, &isError);
  if (isError) message = getProperty(env_, thrown, "message");
  if (message == nullptr && napi_coerce_to_string(env_, thrown, &text) == napi_ok) message = text;
  queue_->hostDone(event.token, message != nullptr ? textOf(env_, message, "message") : "threw");
}

void Session::finishClose() {
  stop();
  napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
  if (onHost_ != nullptr) napi_delete_reference(env_, onHost_);
  napi_resolve_deferred(env_, closing_, makeUndefined(env_));
  napi_release_threadsafe_function(wakeJavaScript_, napi_tsfn_release);  // and onGone follows
}

void Session::stop() {
  if (queue_ == nullptr) return;
  queue_->shutDown();
  queue_.reset();
  environment_->sessions[handle_] = nullptr;
}

void Session::onEnvironmentEnd(void* session) { static_cast<Session*>(session)->stop(); }

void Session::onGone(napi_env env, void* session, void*) {
  auto* self = static_cast<Session*>(session);
  if (self->queue_ != nullptr) {  // a runtime that finalises before it runs hooks
    self->stop();
    if (env != nullptr) napi_remove_env_cleanup_hook(env, onEnvironmentEnd, self);
  }
  delete self;
}

}  // namespace graft
