// Sums to one number, and the clipping of gradients by their norm.
// graft-isa: scalar avx2 avx512 neon
//
//   sum          out[0] (+)= scale · Σ x                    out f32 [1]
//   sumSquares   partials[slot] = Σ x²                      partials f32 [n], x f32
//   clipControl  norm = sqrt(Σ partials) / tokens; finite = isfinite(norm) && tokens > 0;
//                coefficient = finite ? (maxNorm > 0 ? min(1, maxNorm / (norm + 1e-6)) : 1) / tokens : 0;
//                control = [coefficient, finite, control[2] + finite, norm]
//   stepGuard    mean = loss / tokens; limit = spike · guard.mean once it has seen 10 losses; a step that is not finite,
//                above its limit or behind one that halted (a bad loss does) sets control to (0, 0, steps without it, norm); else the
//                mean of the last 20 losses takes it in
//
// Sums are f64, each block of 4,096 elements by itself and then over the blocks in order: which thread takes a block
// changes nothing. The blocks' sums lie in the shared scratch, 2^20 of them at a time.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

constexpr int64_t kSumBlock = 4096;
constexpr int64_t kBlocksTogether = int64_t{1} << 20;
static_assert(kBlocksTogether * sizeof(double) <= sharedScratchBytes);

/** Σ f(x) of at most kBlock elements, in f64. */
template <class Function>
GRAFT_INLINE double sumOf(const float* x, int64_t n, Function f) {
#if GRAFT_SCALAR
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += f(double(x[i]));
  return total;
#else
  // Eight partial sums for every instruction set.
  using Doubles = double __attribute__((vector_size(32)));
  using Floats = float __attribute__((vector_size(16), aligned(4), may_alias));
  const auto four = [&](int64_t at) { return __builtin_convertvector(*reinterpret_cast<const Floats*>(x + at), Doubles); };
  Doubles low{}, high{};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    low += f(four(i));
    high += f(four(i + 4));
  }
  low += high;
  double total = (low[0] + low[2]) + (low[1] + low[3]);
  for (; i < n; i++) total += f(double(x[i]));
  return total;
#endif
}

template <class Function>
GRAFT_INLINE double sumInBlocks(const Pool& pool, const Operand& x, Function f) {
  const int64_t n = x.size(), blocks = ceilDiv(n, kSumBlock);
  double* sums = static_cast<double*>(pool.shared());
  double total = 0;
  for (int64_t first = 0; first < blocks; first += kBlocksTogether) {
    const int64_t count = smaller(kBlocksTogether, blocks - first);
    eachRow(pool, count, kSumBlock, [&](int64_t index) {
      const int64_t begin = (first + index) * kSumBlock, end = smaller(n, begin + kSumBlock);
      double blockSum = 0;
      for (int64_t from = begin; from < end; from += kBlock) {
        Buffer buffer;
        const int64_t part = smaller(kBlock, end - from);
        blockSum += sumOf(read(x, from, part, buffer), part, f);
      }
      sums[index] = blockSum;
    });
    for (int64_t index = 0; index < count; index++) total += sums[index];
  }
  return total;
}

static void sumKernel(const Call& call) {
  float* out = call[0].as<float>();
  const double scaled = call.params[0] * sumInBlocks(call.pool, call[1], [](auto x) { return x; });
  *out = float(call.params[1] != 0 ? *out + scaled : scaled);
}

static void sumSquares(const Call& call) {
  call[0].as<float>()[int64_t(call.params[0])] = float(sumInBlocks(call.pool, call[1], [](auto x) { return x * x; }));
}

static void clipControl(const Call& call) {
  float* control = call[0].as<float>();
  const Operand& partials = call[1];
  const double tokens = call[2].as<float>()[0], maxNorm = call.params[0];
  double squares = 0;
  for (int64_t i = 0; i < partials.size(); i++) squares += partials.as<float>()[i];
  const double norm = __builtin_sqrt(squares) / tokens;
  const bool finite = __builtin_isfinite(norm) && tokens > 0;
  const double clip = maxNorm > 0 ? smaller(1.0, maxNorm / (norm + 1e-6)) : 1.0;
  control[0] = float(finite ? clip / tokens : 0.0);
  control[1] = finite ? 1.0f : 0.0f;
  control[2] += control[1];
  control[3] = float(norm);
}

/** Losses that the mean remembers, and those it needs before it judges. */
constexpr float kMemory = 20, kLearning = 10;

static void stepGuard(const Call& call) {
  float *control = call[0].as<float>(), *guard = call[1].as<float>(), *halted = call[2].as<float>();
  const double spike = call.params[0], mean = double(call[3].as<float>()[0]) / double(call[4].as<float>()[0]);
  const double limit = spike > 0 && guard[1] >= kLearning ? spike * guard[0] : 0.0;
  const bool applied = control[1] != 0;
  const bool badLoss = !__builtin_isfinite(mean) || (limit > 0 && mean > limit);
  const bool good = applied && *halted == 0 && !badLoss;
  guard[2] = float(limit);
  if (good) {
    guard[1] += 1;
    guard[0] = float(guard[0] + (mean - guard[0]) / double(smaller(kMemory, guard[1])));
    return;
  }
  if (call.params[1] != 0 && badLoss) *halted = 1;
  control[0] = control[1] = 0;
  control[2] -= applied ? 1.0f : 0.0f;
}

void register_reduction(Registry& registry) {
  registry.add("stepGuard", {"spike", "halts"}, stepGuard);
  registry.add("sum", {"scale", "accumulate"}, sumKernel);
  registry.add("sumSquares", {"slot"}, sumSquares);
  registry.add("clipControl", {"maxNorm"}, clipControl);
}

}  // namespace GRAFT_ISA
}  // namespace graft
