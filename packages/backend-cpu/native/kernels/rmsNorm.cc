// RMSNorm (Zhang and Sennrich, arXiv:1910.07467) by rows, forward and backward.
// graft-isa: scalar avx2 avx512 avx512bf16 neon
//
//   r = 1 / sqrt(Σ x² / n + epsilon)                      x, y, dx, dy [tokens, n], w [n], r by row
//   y = x · r · w;  addRmsNorm: h = x + y, and h · r · w of it
//   dx (+)= r · (dy · w − x · r² · Σ(dy · w · x) / n)
//   dw (+)= Σ_t dy · x · r                                 dw f32 [n]
//
// dw is summed over blocks of 64 rows, each in its own row of the workspace [ceil(tokens / 64), n], and then over the
// blocks in order: the same bits for any number of threads.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

template <class T>
static float sumOfSquares(const T* x, int64_t n) {
#if GRAFT_SCALAR
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += double(widen(x[i])) * widen(x[i]);
  return float(total);
#else
  return mapSum(n, [](F32 value) { return value * value; }, x);
#endif
}

template <class T>
static float sumOfProducts(const T* dy, const T* w, const T* x, int64_t n) {
#if GRAFT_SCALAR
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += double(widen(dy[i])) * widen(w[i]) * widen(x[i]);
  return float(total);
#else
  return mapSum(n, [](F32 d, F32 gain, F32 value) { return d * gain * value; }, dy, w, x);
#endif
}

/** 1 / rms of the row that begins at element `at` */
static float inverseRms(const Operand& x, int64_t at, int64_t n, double epsilon) {
  double squares = 0;
  for (int64_t column = 0; column < n; column += kBlock) {
    const int64_t count = smaller(kBlock, n - column);
    if (x.dtype == DType::bf16) squares += sumOfSquares(x.as<const BF16>() + at + column, count);
    else squares += sumOfSquares(read(x, at + column, count, Buffer()), count);
  }
  return float(1 / __builtin_sqrt(squares / double(n) + epsilon));
}

static void normRow(const Operand& y, const Operand& x, const Operand& w, int64_t row, int64_t n, double epsilon) {
  const float r = inverseRms(x, row * n, n, epsilon);
  for (int64_t column = 0; column < n; column += kBlock) {
    const int64_t from = row * n + column, count = smaller(kBlock, n - column);
    mapStretch({y, from}, count, false, [&](F32 value, F32 g) { return value * r * g; }, Stretch{x, from}, Stretch{w, column});
  }
}

/**
 * Asks for a row of f32 while the one before is computed: the hardware begins anew with each row, since its second reading is
 * from the first level. Rows of bf16 are bound by arithmetic.
 */
GRAFT_INLINE void ask(const Operand& x, int64_t row, int64_t n) {
  if (x.dtype == DType::f32) fetchRow(x, row * n, n);
}

static void rmsNorm(const Call& call) {
  const Operand &y = call[0], &x = call[1], &w = call[2];
  const int64_t n = w.size(), rows = n > 0 ? x.size() / n : 0;
  eachRow(call.pool, rows, n, [&](int64_t row) {
    ask(x, row + 1, n);
    normRow(y, x, w, row, n, call.params[0]);
  });
}

/** The row of h is in the first-level cache when it is normed, rounded as it is stored. */
static void addRmsNorm(const Call& call) {
  const Operand &h = call[0], &normed = call[1], &x = call[2], &y = call[3], &w = call[4];
  const int64_t n = w.size(), rows = n > 0 ? x.size() / n : 0;
  eachRow(call.pool, rows, n, [&](int64_t row) {
    ask(x, row + 1, n), ask(y, row + 1, n);
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t from = row * n + column, count = smaller(kBlock, n - column);
      mapStretch({h, from}, count, false, [](F32 a, F32 b) { return a + b; }, Stretch{x, from}, Stretch{y, from});
    }
    normRow(normed, h, w, row, n, call.params[0]);
  });
}

static void rmsNormBackwardX(const Call& call) {
  const Operand &dx = call[0], &dy = call[1], &x = call[2], &w = call[3];
  const double epsilon = call.params[0];
  const bool accumulate = call.params[1] != 0;
  const int64_t n = w.size(), rows = n > 0 ? x.size() / n : 0;
  eachRow(call.pool, rows, n, [&](int64_t row) {
    ask(x, row + 1, n), ask(dy, row + 1, n);
    const float r = inverseRms(x, row * n, n, epsilon);
    double products = 0;
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t from = row * n + column, count = smaller(kBlock, n - column);
      const auto of = [](const Operand& operand, int64_t at) { return operand.as<const BF16>() + at; };
      if (allBF16(Stretch{dy, from}, Stretch{x, from}, Stretch{w, column}))
        products += sumOfProducts(of(dy, from), of(w, column), of(x, from), count);
      else
        products += sumOfProducts(read(dy, from, count, Buffer()), read(w, column, count, Buffer()), read(x, from, count, Buffer()), count);
    }
    const float back = float(double(r) * r * products / double(n));
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t from = row * n + column, count = smaller(kBlock, n - column);
      const auto gradient = [&](F32 e, F32 g, F32 v) { return r * (e * g - v * back); };
      mapStretch({dx, from}, count, accumulate, gradient, Stretch{dy, from}, Stretch{w, column}, Stretch{x, from});
    }
  });
}

constexpr int64_t kRowsTogether = 64;

static void rmsNormBackwardW(const Call& call) {
  const Operand &dw = call[0], &dy = call[1], &x = call[2];
  const double epsilon = call.params[0];
  const bool accumulate = call.params[1] != 0;
  const int64_t n = dw.size(), rows = n > 0 ? x.size() / n : 0, blocks = ceilDiv(rows, kRowsTogether);
  call.pool.parallel(blocks, [&](int64_t block, int) {
    float* partial = call.workspace + block * n;
    const int64_t first = block * kRowsTogether, end = smaller(rows, first + kRowsTogether);
    for (int64_t row = first; row < end; row++) {
      const float r = inverseRms(x, row * n, n, epsilon);
      for (int64_t column = 0; column < n; column += kBlock) {
        const int64_t from = row * n + column, count = smaller(kBlock, n - column);
        Buffer dyBuffer, xBuffer;
        const float *d = read(dy, from, count, dyBuffer), *values = read(x, from, count, xBuffer);
        mapInto(partial + column, count, row > first, [&](F32 e, F32 v) { return e * v * r; }, d, values);
      }
    }
  });
  eachBlock(call.pool, n, [&](int64_t from, int64_t count) {
    float* to = dw.as<float>() + from;
    if (!accumulate) map(to, count, []() { return splat(0); });
    for (int64_t block = 0; block < blocks; block++)
      mapInto(to, count, true, [](F32 partial) { return partial; }, call.workspace + block * n + from);
  });
}

void register_rmsNorm(Registry& registry) {
  registry.add("rmsNorm", {"epsilon"}, rmsNorm);
  registry.add("addRmsNorm", {"epsilon"}, addRmsNorm);
  registry.add("rmsNormBackwardX", {"epsilon", "accumulate"}, rmsNormBackwardX);
  registry.add("rmsNormBackwardW", {"epsilon", "accumulate"}, rmsNormBackwardW);
}

}  // namespace GRAFT_ISA
}  // namespace graft
