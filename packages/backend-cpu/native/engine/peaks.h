// What this machine can do at best, measured: the yardstick that doctor and the benches hold kernels against.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft {

/** Kinds that this machine can measure, e.g. "f32.avx2", "bf16.avx512bf16". */
std::vector<std::string> peakKinds();
/** Floating-point operations a second of `threads` threads that only multiply and add in registers for `ms`. */
double peakFlops(std::string_view kind, int threads, double ms);

struct Bandwidth {
  double read;  // bytes a second, each thread summing memory of its own far larger than the caches
  double copy;  // bytes read plus bytes written a second
};
Bandwidth memoryBandwidth(int threads, double ms);

}  // namespace graft
