#include "napiValue.h"

#include "failure.h"

namespace graft {

void check(napi_env env, napi_status status, const char* doing) {
  if (status == napi_ok) return;
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  throw Failure(std::string("internal: ") + doing + " failed with N-API status " + std::to_string(status) +
                (info != nullptr && info->error_message != nullptr ? std::string(": ") + info->error_message : ""));
}

Arguments::Arguments(napi_env env, napi_callback_info info) : env_(env) {
  void* method = nullptr;
  check(env, napi_get_cb_info(env, info, &count_, values_, nullptr, &method), "reading arguments");
  method_ = static_cast<const Method*>(method);
}

void Arguments::refuse(const char* name, const char* wanted) const {
  throw Failure(std::string(method_->name) + ": " + name + " must be " + wanted, FailureKind::type);
}

bool Arguments::has(size_t index) const {
  if (index >= count_) return false;
  napi_valuetype type = napi_undefined;
  napi_typeof(env_, values_[index], &type);
  return type != napi_undefined;
}

double Arguments::number(size_t index, const char* name) const {
  double value = 0;
  if (index >= count_ || napi_get_value_double(env_, values_[index], &value) != napi_ok) refuse(name, "a number");
  return value;
}

int Arguments::integer(size_t index, const char* name, int low, int high) const {
  const double value = number(index, name);
  if (!(value >= low && value <= high) || static_cast<double>(static_cast<int>(value)) != value) {
    throw Failure(std::string(method_->name) + ": " + name + " is " + std::to_string(value) + ", wanted a whole number from " +
                      std::to_string(low) + " to " + std::to_string(high),
                  FailureKind::range);
  }
  return static_cast<int>(value);
}

bool Arguments::boolean(size_t index, const char* name) const {
  bool value = false;
  if (index >= count_ || napi_get_value_bool(env_, values_[index], &value) != napi_ok) refuse(name, "a boolean");
  return value;
}

std::string Arguments::text(size_t index, const char* name) const {
  size_t length = 0;
  if (index >= count_ || napi_get_value_string_utf8(env_, values_[index], nullptr, 0, &length) != napi_ok) {
    refuse(name, "a string");
  }
  std::string text(length, 0);
  napi_get_value_string_utf8(env_, values_[index], text.data(), length + 1, &length);
  return text;
}

std::vector<std::string> Arguments::texts(size_t index, const char* name) const {
  bool isArray = false;
  if (index < count_) napi_is_array(env_, values_[index], &isArray);
  if (!isArray) refuse(name, "an array of strings");
  uint32_t length = 0;
  napi_get_array_length(env_, values_[index], &length);
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element = nullptr;
    check(env_, napi_get_element(env_, values_[index], i, &element), "reading an array");
    texts.push_back(textOf(env_, element, name));
  }
  return texts;
}

Arguments::Doubles Arguments::doubles(size_t index, const char* name) const {
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t length = 0;
  if (index >= count_ ||
      napi_get_typedarray_info(env_, values_[index], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array) {
    refuse(name, "a Float64Array");
  }
  return {static_cast<const double*>(data), length};
}

Arguments::Bytes Arguments::bytes(size_t index, const char* name) const {
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t length = 0;
  if (index >= count_ ||
      napi_get_typedarray_info(env_, values_[index], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    refuse(name, "a Uint8Array");
  }
  return {static_cast<const unsigned char*>(data), length};
}

Arguments::Memory Arguments::memory(size_t index, const char* name) const {
  napi_typedarray_type type = napi_int8_array;
  void *data = nullptr, *whole = nullptr;
  napi_value buffer = nullptr;
  size_t length = 0, offset = 0, wholeLength = 0;
  // Asked for its buffer, a small array moves out of the heap of objects for good; only then is its address its own.
  if (index >= count_ ||
      napi_get_typedarray_info(env_, values_[index], &type, &length, &data, &buffer, &offset) != napi_ok ||
      type != napi_uint8_array || napi_get_arraybuffer_info(env_, buffer, &whole, &wholeLength) != napi_ok) {
    refuse(name, "a Uint8Array");
  }
  return {static_cast<unsigned char*>(whole) + offset, length, buffer};
}

double numberOf(napi_env env, napi_value value, const char* what) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    throw Failure(std::string(what) + " must be a number", FailureKind::type);
  }
  return number;
}

std::string textOf(napi_env env, napi_value value, const char* what) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    throw Failure(std::string(what) + " must be a string", FailureKind::type);
  }
  std::string text(length, 0);
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return text;
}

napi_value makeNumber(napi_env env, double value) {
  napi_value made = nullptr;
  check(env, napi_create_double(env, value, &made), "making a number");
  return made;
}

napi_value makeText(napi_env env, const std::string& value) {
  napi_value made = nullptr;
  check(env, napi_create_string_utf8(env, value.data(), value.size(), &made), "making a string");
  return made;
}

napi_value makeTexts(napi_env env, const std::vector<std::string>& values) {
  napi_value made = nullptr;
  check(env, napi_create_array_with_length(env, values.size(), &made), "making an array");
  for (size_t i = 0; i < values.size(); ++i) {
    check(env, napi_set_element(env, made, static_cast<uint32_t>(i), makeText(env, values[i])), "filling an array");
  }
  return made;
}

napi_value makeUndefined(napi_env env) {
  napi_value made = nullptr;
  check(env, napi_get_undefined(env, &made), "making undefined");
  return made;
}

void setProperty(napi_env env, napi_value object, const char* name, napi_value value) {
  check(env, napi_set_named_property(env, object, name, value), "setting a property");
}

napi_value getProperty(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  if (napi_get_named_property(env, object, name, &value) != napi_ok) return nullptr;
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined ? nullptr : value;
}

napi_value makeError(napi_env env, const std::string& message, const char* code, const std::string& op) {
  napi_value error = nullptr;
  check(env, napi_create_error(env, makeText(env, code), makeText(env, message), &error), "making an error");
  if (!op.empty()) setProperty(env, error, "op", makeText(env, op));
  return error;
}

}  // namespace graft
