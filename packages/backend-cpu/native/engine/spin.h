// A short wait that keeps the core polite: for hand-overs that take less than the microseconds a sleep and a wake cost.
#pragma once

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace graft {

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/** Until `ready()` or until `limit` has passed; says whether it was ready. */
template <class Ready>
bool spinFor(std::chrono::microseconds limit, const Ready& ready) {
  if (ready()) return true;
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < 4; ++j) pause();  // who writes what is waited for needs its cache line too
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace graft
