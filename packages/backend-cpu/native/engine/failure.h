// What the engine throws on the JavaScript thread; the binding turns it into the JavaScript error of its kind.
#pragma once

#include <stdexcept>
#include <string>

namespace graft {

enum class FailureKind { error, type, range };

struct Failure : std::runtime_error {
  FailureKind kind;
  explicit Failure(const std::string& message, FailureKind of = FailureKind::error)
      : std::runtime_error(message), kind(of) {}
};

}  // namespace graft
