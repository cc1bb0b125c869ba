// Softmax cross-entropy by rows; the logits become their own gradient.
// graft-isa: scalar avx2 avx512 avx512bf16 neon
//
//   losses[row0 + t] = log Σ_c e^z[c] − (1 − ε) z[y] − ε / vocab · Σ_c z[c]     y = targets[row0 + t]; 0 where y < 0
//   logits[t, c] = z[c]; gradient: (e^z[c] / Σ − (1 − ε) [c = y] − ε / vocab) · (1 − (z[c] / cap)²), 0 where y < 0
//   z = logits[t], with a soft cap > 0 (Gemma 2, arXiv:2408.00118 §2) cap · tanh(logits[t] / cap); ε the label smoothing
//   losses f32, targets i32, logits [rows, vocab]; the gradient goes to a tensor of any dtype where one is given beside
//
//   softCap  z = cap · tanh(z / cap) in place
//
// The first pass keeps a running largest logit and a sum relative to it (Milakov and Gimelshein, arXiv:1805.02867), block
// by block, so that a row is read once for its loss and once more for its gradient.
//
//   topIsTarget  hits[row0 + t] = 1 if logits[t, y] is the row's largest (the first of equals), else 0; 0 where y < 0
#include <graft/block.h>
#include <graft/tanh.h>

namespace graft {
namespace GRAFT_ISA {

/** e^d for d ≤ 0, as a power of two. */
static GRAFT_INLINE F32 powerOf(F32 d) { return softmaxExp2(d * 1.44269504088896341f); }

/** A row's largest logit and Σ e^(logit − largest). */
struct Softmax {
  float largest;
  double sum;
};

#if GRAFT_SCALAR

static Softmax softmaxOf(const Operand& logits, int64_t at, int64_t vocab) {
  Softmax row{-__builtin_inff(), 0};
  for (int64_t from = 0; from < vocab; from += kBlock) {
    Buffer buffer;
    const int64_t count = smaller(kBlock, vocab - from);
    const float* x = read(logits, at + from, count, buffer);
    float top = row.largest;
    for (int64_t i = 0; i < count; i++) top = maximum(x[i], top);
    if (top > row.largest) row.sum *= exp(row.largest - top);
    row.largest = top;
    for (int64_t i = 0; i < count; i++) row.sum += exp(x[i] - top);
  }
  return row;
}

#else

/** Logits that share a largest one where they need not be widened: 16 KiB, so that what is done once for all of them is little. */
constexpr int64_t kTogether = 4096;

static Softmax softmaxOf(const Operand& logits, int64_t at, int64_t vocab) {
  Softmax row{-__builtin_inff(), 0};
  const int64_t block = logits.dtype == DType::f32 ? kTogether : kBlock;
  for (int64_t from = 0; from < vocab; from += block) {
    Buffer buffer;
    const int64_t count = smaller(block, vocab - from), whole = count / kLanes * kLanes;
    const float* x = read(logits, at + from, count, buffer);
    F32 a = splat(row.largest), b = a;
    int64_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
      a = maximum(load(x + i), a);
      b = maximum(load(x + i + kLanes), b);
    }
    if (i < whole) a = maximum(load(x + i), a);
    float top = largest(maximum(a, b));
    for (i = whole; i < count; i++) top = x[i] > top ? x[i] : top;
    if (top > row.largest) row.sum *= laneOf(powerOf(splat(row.largest - top)), 0);
    row.largest = top;
    row.sum += mapSum(whole, [&](F32 value) { return powerOf(value - top); }, x);
    if (whole < count) {
      // The missing lanes hold −inf, whose power is 0.
      float rest[kLanes];
      for (int lane = 0; lane < kLanes; lane++) rest[lane] = whole + lane < count ? x[whole + lane] - top : -__builtin_inff();
      row.sum += sum(powerOf(load(rest)));
    }
  }
  return row;
}

#endif

/** z[from … from + n) = cap · tanh(z / cap), block by block. */
static void capLogits(const Operand& z, int64_t from, int64_t n, float cap) {
  for (int64_t end = from + n; from < end; from += kBlock) {
    Buffer buffer;
    const int64_t count = smaller(kBlock, end - from);
    float* to = target(z, from, count, buffer, true);
    map(to, count, [&](F32 value) { return cap * tanh(value / cap); }, to);
    write(z, from, count, to);
  }
}

static void softCap(const Call& call) {
  const Operand& z = call[0];
  const float cap = float(call.params[0]);
  call.pool.parallel(ceilDiv(z.size(), kGrain), [&](int64_t task, int) {
    capLogits(z, task * kGrain, smaller(kGrain, z.size() - task * kGrain), cap);
  });
}

/** Σ of a row, for label smoothing. */
static double totalOf(const Operand& logits, int64_t at, int64_t vocab) {
  double total = 0;
  for (int64_t from = 0; from < vocab; from += kBlock) {
    Buffer buffer;
    const int64_t count = smaller(kBlock, vocab - from);
    total += mapSum(count, [](F32 value) { return value; }, read(logits, at + from, count, buffer));
  }
  return total;
}

/** out = f(logits), a row; logits in f32 are rounded on their way to bf16. */
template <class Function>
static void mapRow(const Operand& out, const Operand& logits, int64_t at, int64_t vocab, const Function& f) {
  if (out.dtype == DType::bf16 && logits.dtype == DType::f32)
    return map(out.as<BF16>() + at, vocab, f, logits.as<const float>() + at);
  for (int64_t from = 0; from < vocab; from += kBlock)
    mapStretch({out, at + from}, smaller(kBlock, vocab - from), false, f, Stretch{logits, at + from});
}

static void crossEntropyRows(const Call& call) {
  const Operand &out = call[1], &logits = call[call.count > 3 ? 3 : 1];
  const int64_t row0 = int64_t(call.params[0]), rows = int64_t(call.params[1]), vocab = int64_t(call.params[2]);
  const bool gradient = call.params[3] != 0;
  const float cap = float(call.params[4]);
  const double smoothing = call.params[5];
  const float own = float(1 - smoothing), each = float(smoothing / double(vocab));
  float* losses = call[0].as<float>() + row0;
  const int32_t* targets = call[2].as<int32_t>() + row0;
  eachRow(call.pool, rows, vocab, [&](int64_t t) {
    const int64_t at = t * vocab, y = targets[t];
    Buffer buffer;
    if (cap > 0 && (y >= 0 || !gradient)) capLogits(logits, at, vocab, cap);
    if (y < 0) {
      losses[t] = 0;
      for (int64_t from = 0; gradient && from < vocab; from += kBlock) {
        const int64_t count = smaller(kBlock, vocab - from);
        float* to = target(out, at + from, count, buffer, false);
        std::memset(to, 0, size_t(count) * sizeof(float));
        write(out, at + from, count, to);
      }
      return;
    }
    const Softmax row = softmaxOf(logits, at, vocab);
    // A target beyond the vocabulary comes from the device unchecked: it has no logit, and the loss says so.
    const double learnt = y < vocab ? double(*read(logits, at + y, 1, buffer)) : double(__builtin_nanf(""));
    const double spread = smoothing > 0 ? smoothing / double(vocab) * totalOf(logits, at, vocab) : 0;
    losses[t] = float(row.largest + __builtin_log(row.sum) - (1 - smoothing) * learnt - spread);
    if (!gradient) return;
    const float share = float(1 / row.sum);
    const auto free = [&](F32 z) { return powerOf(z - row.largest) * share - each; };
    const auto slope = [&](F32 z) { return 1.0f - (z / cap) * (z / cap); };
    if (cap > 0) mapRow(out, logits, at, vocab, [&](F32 z) { return free(z) * slope(z); });
    else mapRow(out, logits, at, vocab, free);
    if (y >= vocab) return;
    const F32 z = splat(float(learnt));
    const float ofTarget = laneOf(cap > 0 ? (free(z) - own) * slope(z) : free(z) - own, 0);
    write(out, at + y, 1, &ofTarget);
  });
}

static void topIsTarget(const Call& call) {
  const Operand& logits = call[1];
  const int64_t row0 = int64_t(call.params[0]), rows = int64_t(call.params[1]), vocab = int64_t(call.params[2]);
  float* hits = call[0].as<float>() + row0;
  const int32_t* targets = call[2].as<int32_t>() + row0;
  eachRow(call.pool, rows, vocab, [&](int64_t t) {
    const int64_t at = t * vocab, y = targets[t];
    hits[t] = 0;
    if (y < 0 || y >= vocab) return;
    Buffer buffer;
    const float own = *read(logits, at + y, 1, buffer);
    bool first = own == own;  // a NaN is not the largest
    for (int64_t from = 0; first && from < vocab; from += kBlock) {
      const int64_t count = smaller(kBlock, vocab - from);
      const float* x = read(logits, at + from, count, buffer);
      int64_t above = 0;
      for (int64_t i = 0; i < count; i++) above += from + i < y ? x[i] >= own : x[i] > own;
      first = above == 0;
    }
    hits[t] = first ? 1.0f : 0.0f;
  });
}

void register_crossEntropy(Registry& registry) {
  registry.add("topIsTarget", {"row0", "rows", "vocab"}, topIsTarget);
  registry.add("crossEntropyRows", {"row0", "rows", "vocab", "gradient", "softCap", "smoothing"}, crossEntropyRows);
  registry.add("softCap", {"softCap"}, softCap);
}

}  // namespace GRAFT_ISA
}  // namespace graft
