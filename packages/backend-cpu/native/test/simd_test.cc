// The vector type itself: conversions, functions, reductions, against double arithmetic.
#include "harness.h"

#include <graft/block.h>

namespace test {

using namespace graft::GRAFT_ISA;

/** Distance in representable floats. */
static double ulps(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b) ? 0 : INFINITY;
  const auto ordered = [](float x) {
    int32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits < 0 ? -int64_t(bits & 0x7fffffff) : int64_t(bits);
  };
  return std::fabs(double(ordered(a) - ordered(b)));
}

/** Worst distance of f from `exact` over the floats whose bits are every `stride`-th number, and the special ones. */
template <class Function>
static double worst(Function f, double (*exact)(double), uint64_t stride, float from, float to) {
  double most = 0;
  float in[kLanes], out[kLanes];
  int filled = 0;
  const auto flush = [&]() {
    for (int i = filled; i < kLanes; i++) in[i] = 0;
    store(out, f(load(in)));
    for (int i = 0; i < filled; i++) most = std::max(most, ulps(out[i], float(exact(double(in[i])))));
    filled = 0;
  };
  const auto add = [&](float x) {
    if (!(x >= from && x <= to) && !std::isnan(x)) return;
    in[filled++] = x;
    if (filled == kLanes) flush();
  };
  for (float x : {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f, -1.0f, 88.7228f, 88.7229f, 89.0f, -87.0f, -87.4f, -103.97f, -104.0f, 1e-45f, -1e-45f, 3.4e38f, -3.4e38f}) add(x);
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += stride) {
    const uint32_t word = uint32_t(bits);
    float x;
    std::memcpy(&x, &word, 4);
    add(x);
  }
  flush();
  return most;
}

static void testFunctions() {
  const uint64_t stride = 2003;
  const double exponential = worst([](F32 x) { return exp(x); }, std::exp, stride, -INFINITY, INFINITY);
  const double negative = worst([](F32 x) { return softmaxExp(x); }, [](double x) { return x < -87 ? 0 : std::exp(x); }, stride, -INFINITY, 0);
  const double logarithm = worst([](F32 x) { return log(x); }, std::log, stride, -INFINITY, INFINITY);
  const double logistic = worst([](F32 x) { return sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }, stride, -80, INFINITY);
  std::printf("  exp %g ulp, softmaxExp %g, log %g, sigmoid %g\n", exponential, negative, logarithm, logistic);
  check("exp", exponential, 2);
  check("softmaxExp", negative, 2);
  check("log", logarithm, 2);
  check("sigmoid", logistic, 4);
}

template <class T>
static void testConversion(const char* name, double (*round)(double), double (*stored)(double), int mantissa, int bias) {
  double widening = 0, narrowing = 0, single = 0;
  for (int first = 0; first < 65536; first += kLanes) {
    T in[kLanes];
    float out[kLanes];
    for (int i = 0; i < kLanes; i++) in[i].bits = uint16_t(first + i);
    store(out, load(in));
    for (int i = 0; i < kLanes; i++) {
      const float exact = float(fromBits16(in[i].bits, mantissa, bias));
      widening = std::max({widening, ulps(out[i], exact), ulps(widen(in[i]), exact)});
    }
  }
  const int64_t step = 9973;
  for (int64_t first = 0; first < (int64_t(1) << 32); first += step * kLanes) {
    float in[kLanes];
    T out[kLanes], one;
    for (int i = 0; i < kLanes; i++) {
      // Every third one is near a tie of bf16 or f16, where rounding to even shows.
      uint32_t bits = uint32_t(first + i * step);
      if (bits % 3 == 0) bits = (bits & ~((1u << (23 - mantissa)) - 1)) + (1u << (22 - mantissa)) + (bits / 3 % 3) - 1;
      std::memcpy(&in[i], &bits, 4);
    }
    store(out, load(in));
    for (int i = 0; i < kLanes; i++) {
      narrow(in[i], &one);
      const double got = fromBits16(out[i].bits, mantissa, bias), alone = fromBits16(one.bits, mantissa, bias);
      const auto differs = [](double x, double wanted) { return std::isnan(wanted) ? !std::isnan(x) : x != wanted || std::signbit(x) != std::signbit(wanted); };
      narrowing += differs(got, stored(in[i])), single += differs(alone, round(in[i]));
    }
  }
  check(std::string(name) + ": widening is exact", widening, 0);
  check(std::string(name) + ": narrowing rounds to nearest even", narrowing, 0);
  check(std::string(name) + ": narrowing one element", single, 0);
}

static void testLanes() {
  float in[kLanes];
  for (int i = 0; i < kLanes; i++) in[i] = float((i * 7) % kLanes) - 3;
  check("sum", std::fabs(sum(load(in)) - float(kLanes * (kLanes - 1) / 2 - 3 * kLanes)), 0);
  check("largest", std::fabs(largest(load(in)) - float(kLanes - 4)), 0);
  check("any of none", any(load(in) > splat(100)), 0);
  check("any of one", !any(load(in) >= splat(float(kLanes - 4))), 0);
  for (int n = 1; n < kLanes; n++) {
    float out[kLanes];
    for (float& x : out) x = -1;
    storePart(out, loadPart(in, n) * 2.0f, n);
    for (int i = 0; i < kLanes; i++) check("part", std::fabs(out[i] - (i < n ? in[i] * 2 : -1)), 0);
  }
}

/** What `store` makes of x in bf16: the instruction of AVX512-BF16 takes numbers below the normal ones for 0. */
static double storedBF16(double x) {
#if defined(__AVX512BF16__)
  if (std::fabs(x) < 0x1p-126) return std::copysign(0.0, x);
#endif
  return toBF16(x);
}

void testSimd() {
  testFunctions();
  testConversion<BF16>("bf16", toBF16, storedBF16, 7, 127);
  testConversion<F16>("f16", toF16, toF16, 10, 15);
  testLanes();
}

}  // namespace test
