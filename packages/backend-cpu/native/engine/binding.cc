// The N-API surface: reads arguments, forwards, turns failures into JavaScript errors. src/native.ts describes it.
#include <node_api.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>

#include "failure.h"
#include "machine.h"
#include "napiValue.h"
#include "peaks.h"
#include "plugins.h"
#include "session.h"
#include "tables.h"

namespace graft {

static constexpr int mostThreads = 1024;

static Session& sessionOf(const Arguments& arguments) {
  const auto& environment = **static_cast<std::shared_ptr<Environment>*>(arguments.owner());
  const double handle = arguments.number(0, "handle");
  const bool given = handle >= 0 && handle < static_cast<double>(environment.sessions.size());
  Session* session = given ? environment.sessions[static_cast<size_t>(handle)] : nullptr;
  if (session == nullptr) throw Failure(given ? "the queue is closed" : "no queue has this handle", FailureKind::range);
  return *session;
}

static CommandQueue& queueOf(const Arguments& arguments) { return sessionOf(arguments).queue(); }

static napi_value info(const Arguments& arguments) {
  const napi_env env = arguments.env();
  std::vector<std::string> isas;
  for (const Isa isa : availableIsas()) isas.emplace_back(nameOf(isa));
  napi_value object = nullptr;
  check(env, napi_create_object(env, &object), "making an object");
  setProperty(env, object, "isa", makeText(env, std::string(nameOf(defaultIsa()))));
  setProperty(env, object, "isas", makeTexts(env, isas));
  setProperty(env, object, "cores", makeNumber(env, usableCores()));
  setProperty(env, object, "memoryBytes", makeNumber(env, static_cast<double>(usableMemoryBytes())));
  setProperty(env, object, "model", makeText(env, processorModel()));
  setProperty(env, object, "scratchBytesPerThread", makeNumber(env, static_cast<double>(scratchBytesPerWorker)));
  setProperty(env, object, "sharedScratchBytes", makeNumber(env, static_cast<double>(sharedScratchBytes)));
  setProperty(env, object, "peaks", makeTexts(env, peakKinds()));
  return object;
}

static napi_value open(const Arguments& arguments) {
  const napi_env env = arguments.env();
  const auto property = [&](const char* name) { return getProperty(env, arguments.at(0), name); };
  if (!arguments.has(0)) throw Failure("open: options are missing", FailureKind::type);
  const napi_value threadsValue = property("threads"), arenasValue = property("arenas"), isaValue = property("isa");
  if (threadsValue == nullptr) throw Failure("open: threads is missing", FailureKind::type);
  const double threads = numberOf(env, threadsValue, "open: threads");
  if (!(threads >= 1 && threads <= mostThreads) || static_cast<double>(static_cast<int>(threads)) != threads) {
    throw Failure("open: threads is " + std::to_string(threads) + ", wanted a whole number from 1 to " +
                      std::to_string(mostThreads),
                  FailureKind::range);
  }
  std::vector<size_t> arenaBytes;
  bool isArray = false;
  if (arenasValue != nullptr) napi_is_array(env, arenasValue, &isArray);
  if (!isArray) throw Failure("open: arenas must be an array of sizes in bytes", FailureKind::type);
  uint32_t count = 0;
  napi_get_array_length(env, arenasValue, &count);
  for (uint32_t i = 0; i < count; ++i) {
    napi_value element = nullptr;
    check(env, napi_get_element(env, arenasValue, i, &element), "reading an array");
    const double bytes = numberOf(env, element, "open: an arena's size");
    if (!(bytes >= 0 && bytes <= 9007199254740992.0)) {
      throw Failure("open: an arena of " + std::to_string(bytes) + " bytes", FailureKind::range);
    }
    arenaBytes.push_back(static_cast<size_t>(bytes));
  }
  const Isa isa = isaValue == nullptr ? defaultIsa() : requireIsa(textOf(env, isaValue, "open: isa"), "open");
  const auto& environment = *static_cast<std::shared_ptr<Environment>*>(arguments.owner());
  return makeNumber(env, Session::open(env, environment, static_cast<int>(threads), isa, arenaBytes, property("onHost")));
}

static napi_value kernel(const Arguments& arguments) {
  const int outputs = arguments.has(2) ? arguments.integer(2, "outputs", 0, 64) : 1;
  const Isa isa = arguments.has(3) ? requireIsa(arguments.text(3, "isa"), "kernel") : defaultIsa();
  return makeNumber(arguments.env(), kernelNumber(arguments.text(0, "name"), arguments.texts(1, "fields"), outputs, isa));
}

static Arguments::Doubles commandOf(const Arguments& arguments, size_t array, size_t length) {
  auto command = arguments.doubles(array, "command");
  command.length = static_cast<size_t>(arguments.integer(length, "length", 0, static_cast<int>(command.length)));
  return command;
}

static napi_value enqueue(const Arguments& arguments) {
  const auto command = commandOf(arguments, 1, 2);
  queueOf(arguments).enqueueKernel(command.data, command.length);
  return nullptr;
}

static napi_value enqueueHost(const Arguments& arguments) {
  const auto command = commandOf(arguments, 4, 5);
  sessionOf(arguments).enqueueHost(arguments.text(1, "op"), arguments.number(2, "token"),
                                   arguments.integer(3, "outputs", 0, 64), command.data, command.length);
  return nullptr;
}

static napi_value hostDone(const Arguments& arguments) {
  std::optional<std::string> error;
  napi_valuetype type = napi_undefined;
  if (arguments.has(2)) napi_typeof(arguments.env(), arguments.at(2), &type);
  if (type == napi_string) error = arguments.text(2, "error");
  queueOf(arguments).hostDone(arguments.number(1, "token"), error);
  return nullptr;
}

static napi_value upload(const Arguments& arguments) {
  const auto bytes = arguments.bytes(3, "bytes");
  queueOf(arguments).upload(arguments.number(1, "arena"), arguments.number(2, "offset"), bytes.data, bytes.length);
  return nullptr;
}

static napi_value uploadFile(const Arguments& arguments) {
  const double fileOffset = arguments.number(4, "fileOffset");
  if (!(fileOffset >= 0 && fileOffset <= 9007199254740992.0)) {
    throw Failure("uploadFile: fileOffset is " + std::to_string(fileOffset), FailureKind::range);
  }
  queueOf(arguments).uploadFile(arguments.number(1, "arena"), arguments.number(2, "offset"), arguments.text(3, "path"),
                                fileOffset, arguments.number(5, "bytes"));
  return nullptr;
}

static napi_value read(const Arguments& arguments) {
  return sessionOf(arguments).read(arguments.number(1, "arena"), arguments.number(2, "offset"), arguments.number(3, "bytes"));
}

static napi_value readInto(const Arguments& arguments) {
  const auto into = arguments.memory(3, "into");
  return sessionOf(arguments).readInto(arguments.number(1, "arena"), arguments.number(2, "offset"), into.data, into.length, into.owner);
}

static napi_value view(const Arguments& arguments) {
  return sessionOf(arguments).view(arguments.number(1, "arena"), arguments.number(2, "offset"), arguments.number(3, "bytes"));
}

static napi_value poison(const Arguments& arguments) {
  queueOf(arguments).poison(arguments.number(1, "arena"), arguments.number(2, "offset"), arguments.number(3, "bytes"));
  return nullptr;
}

static napi_value atomicBegin(const Arguments& arguments) {
  queueOf(arguments).atomicBegin();
  return nullptr;
}

static napi_value atomicEnd(const Arguments& arguments) {
  queueOf(arguments).atomicEnd();
  return nullptr;
}

static napi_value cancel(const Arguments& arguments) {
  queueOf(arguments).cancel();
  return nullptr;
}

static napi_value progress(const Arguments& arguments) {
  const napi_env env = arguments.env();
  const auto& queue = queueOf(arguments);
  const uint64_t completed = queue.completed();  // first, so that it never exceeds submitted
  const uint64_t values[3] = {queue.submitted(), completed, queue.uploadBytesPending()};
  napi_value array = nullptr;
  check(env, napi_create_array_with_length(env, 3, &array), "making an array");
  for (uint32_t i = 0; i < 3; ++i) {
    check(env, napi_set_element(env, array, i, makeNumber(env, static_cast<double>(values[i]))), "filling an array");
  }
  return array;
}

static napi_value record(const Arguments& arguments) {
  queueOf(arguments).record(arguments.boolean(1, "on"));
  return nullptr;
}

static napi_value flight(const Arguments& arguments) {
  const napi_env env = arguments.env();
  const auto taken = queueOf(arguments).takeFlight();
  napi_value array = nullptr;
  check(env, napi_create_array_with_length(env, taken.size(), &array), "making an array");
  for (size_t i = 0; i < taken.size(); ++i) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(taken[i].second));
    check(env, napi_set_element(env, array, static_cast<uint32_t>(i), makeTexts(env, {taken[i].first, digits})), "filling an array");
  }
  return array;
}

static napi_value time(const Arguments& arguments) {
  queueOf(arguments).time(arguments.boolean(1, "on"));
  return nullptr;
}

static napi_value times(const Arguments& arguments) {
  const auto taken = queueOf(arguments).takeTimes();
  void* data = nullptr;
  napi_value buffer = nullptr;
  check(arguments.env(), napi_create_arraybuffer(arguments.env(), taken.size() * sizeof(double), &data, &buffer), "making an array buffer");
  if (!taken.empty()) std::memcpy(data, taken.data(), taken.size() * sizeof(double));
  return buffer;
}

static napi_value close(const Arguments& arguments) { return sessionOf(arguments).close(); }

static napi_value loadPlugin(const Arguments& arguments) {
  loadPlugin(arguments.text(0, "path"));
  return nullptr;
}

static napi_value peak(const Arguments& arguments) {
  return makeNumber(arguments.env(), peakFlops(arguments.text(0, "kind"), arguments.integer(1, "threads", 1, mostThreads),
                                               arguments.number(2, "ms")));
}

static napi_value threadSeconds(const Arguments& arguments) { return makeNumber(arguments.env(), threadSeconds()); }

static napi_value bandwidth(const Arguments& arguments) {
  const napi_env env = arguments.env();
  const auto found = memoryBandwidth(arguments.integer(0, "threads", 1, mostThreads), arguments.number(1, "ms"));
  napi_value object = nullptr;
  check(env, napi_create_object(env, &object), "making an object");
  setProperty(env, object, "read", makeNumber(env, found.read));
  setProperty(env, object, "copy", makeNumber(env, found.copy));
  return object;
}

template <napi_value (*function)(const Arguments&)>
static napi_value guarded(napi_env env, napi_callback_info callbackInfo) {
  try {
    return function(Arguments(env, callbackInfo));
  } catch (const Failure& failure) {
    switch (failure.kind) {
      case FailureKind::error: napi_throw_error(env, nullptr, failure.what()); break;
      case FailureKind::type: napi_throw_type_error(env, nullptr, failure.what()); break;
      case FailureKind::range: napi_throw_range_error(env, nullptr, failure.what()); break;
    }
  } catch (const std::exception& exception) {
    napi_throw_error(env, nullptr, exception.what());
  }
  return nullptr;
}

/** What lives as long as the environment. */
struct Binding {
  std::shared_ptr<Environment> environment = std::make_shared<Environment>();
  std::deque<Method> methods;

  template <napi_value (*function)(const Arguments&)>
  napi_property_descriptor method(const char* name) {
    methods.push_back({name, &environment});
    return {name, nullptr, guarded<function>, nullptr, nullptr, nullptr, napi_enumerable, &methods.back()};
  }
};

static napi_value define(napi_env env, napi_value exports) {
  auto* binding = new Binding;
  const auto drop = [](napi_env, void* data, void*) { delete static_cast<Binding*>(data); };
  check(env, napi_set_instance_data(env, binding, drop, nullptr), "keeping the environment's data");
  const napi_property_descriptor methods[] = {
      binding->method<info>("info"),
      binding->method<open>("open"),
      binding->method<kernel>("kernel"),
      binding->method<enqueue>("enqueue"),
      binding->method<enqueueHost>("enqueueHost"),
      binding->method<hostDone>("hostDone"),
      binding->method<upload>("upload"),
      binding->method<uploadFile>("uploadFile"),
      binding->method<read>("read"),
      binding->method<readInto>("readInto"),
      binding->method<view>("view"),
      binding->method<poison>("poison"),
      binding->method<atomicBegin>("atomicBegin"),
      binding->method<atomicEnd>("atomicEnd"),
      binding->method<cancel>("cancel"),
      binding->method<progress>("progress"),
      binding->method<record>("record"),
      binding->method<flight>("flight"),
      binding->method<time>("time"),
      binding->method<times>("times"),
      binding->method<close>("close"),
      binding->method<loadPlugin>("loadPlugin"),
      binding->method<peak>("peak"),
      binding->method<bandwidth>("bandwidth"),
      binding->method<threadSeconds>("threadSeconds"),
  };
  check(env, napi_define_properties(env, exports, sizeof methods / sizeof *methods, methods), "defining the binding");
  return exports;
}

}  // namespace graft

NAPI_MODULE_INIT() {
  try {
    return graft::define(env, exports);
  } catch (const std::exception& exception) {
    napi_throw_error(env, nullptr, exception.what());
    return nullptr;
  }
}
