// Arguments in, values out: the few conversions between N-API and C++ that the binding needs. Failures throw Failure.
#pragma once

#include <node_api.h>

#include <string>
#include <vector>

namespace graft {

/** Throws with the text of N-API's last error when `status` is not ok. */
void check(napi_env env, napi_status status, const char* doing);

/** What a function of the binding is defined with: its name, for errors, and whatever it works on. */
struct Method {
  const char* name;
  void* owner;
};

/** The arguments of one call to a function that was defined with a Method. */
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info);

  napi_env env() const { return env_; }
  void* owner() const { return method_->owner; }
  bool has(size_t index) const;  // neither missing nor undefined
  napi_value at(size_t index) const { return values_[index]; }
  /** Any number. */
  double number(size_t index, const char* name) const;
  /** A number that is whole and in [low, high]. */
  int integer(size_t index, const char* name, int low, int high) const;
  bool boolean(size_t index, const char* name) const;
  std::string text(size_t index, const char* name) const;
  std::vector<std::string> texts(size_t index, const char* name) const;
  struct Doubles {
    const double* data;
    size_t length;
  };
  Doubles doubles(size_t index, const char* name) const;
  struct Bytes {
    const unsigned char* data;
    size_t length;
  };
  Bytes bytes(size_t index, const char* name) const;
  struct Memory {
    unsigned char* data;
    size_t length;
    napi_value owner;  // keeps it alive and in its place
  };
  /** A Uint8Array that is written later. */
  Memory memory(size_t index, const char* name) const;

 private:
  [[noreturn]] void refuse(const char* name, const char* wanted) const;
  static constexpr size_t most = 8;
  napi_env env_;
  const Method* method_ = nullptr;
  size_t count_ = most;
  napi_value values_[most];
};

double numberOf(napi_env env, napi_value value, const char* what);
std::string textOf(napi_env env, napi_value value, const char* what);
napi_value makeNumber(napi_env env, double value);
napi_value makeText(napi_env env, const std::string& value);
napi_value makeTexts(napi_env env, const std::vector<std::string>& values);
napi_value makeUndefined(napi_env env);
void setProperty(napi_env env, napi_value object, const char* name, napi_value value);
/** The property, or null when it is missing or undefined. */
napi_value getProperty(napi_env env, napi_value object, const char* name);
/** An Error with `code`, and with `op` unless that is empty. */
napi_value makeError(napi_env env, const std::string& message, const char* code, const std::string& op);

}  // namespace graft
