// The forward pass of attention: its operands, the formula one row and one key at a time (the notation is that of
// kernels/attention.cc), and what all tiled versions say of scores.
#pragma once

#include <graft/segments.h>
#include <graft/tanh.h>

namespace graft {
namespace GRAFT_ISA {

struct Attention {
  const Operand &out, &lse, &q, &k, &v;
  Heads heads;
  float scale, softCap;

  GRAFT_INLINE int64_t queryAt(const Rows& rows, int64_t r) const {
    return (rows.token(r) * heads.heads + rows.headOf(r)) * heads.headDim;
  }
  GRAFT_INLINE int64_t keyAt(const Rows& rows, int64_t j) const {
    return ((rows.segment.key + j) * heads.kvHeads + rows.kvHead) * heads.headDim;
  }
  GRAFT_INLINE float& lseAt(const Rows& rows, int64_t r) const {
    return lse.as<float>()[rows.token(r) * heads.heads + rows.headOf(r)];
  }
};

/** The formula, one row and one key at a time. */
static void attendPlainly(const Attention& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim;
  float *query = scratch.take(n), *key = scratch.take(n), *value = scratch.take(n), *result = scratch.take(n);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    copyWidened(query, call.q, call.queryAt(rows, r), n);
    std::memset(result, 0, size_t(n) * sizeof(float));
    double top = -__builtin_inf(), total = 0;
    for (int64_t j = rows.hidden(r); j < rows.visible(r); j++) {
      copyWidened(key, call.k, call.keyAt(rows, j), n);
      copyWidened(value, call.v, call.keyAt(rows, j), n);
      double score = 0;
      for (int64_t i = 0; i < n; i++) score += double(query[i]) * key[i];
      score *= call.scale;
      if (call.softCap > 0) score = call.softCap * __builtin_tanh(score / call.softCap);
      const double before = top;
      top = score > top ? score : top;
      const double shrink = __builtin_exp(before - top), weight = __builtin_exp(score - top);
      total = total * shrink + weight;
      for (int64_t i = 0; i < n; i++) result[i] = float(result[i] * shrink + weight * value[i]);
    }
    const bool sees = rows.visible(r) > 0;
    for (int64_t i = 0; sees && i < n; i++) result[i] = float(result[i] / total);
    write(call.out, call.queryAt(rows, r), n, result);
    call.lseAt(rows, r) = sees ? float(top + __builtin_log(total)) : 0;
  }
}

#if !GRAFT_SCALAR

/** Keys of a tile: their scores are a panel of 4 KiB for AVX2, K and V of headDim 128 are 32 KiB each in f32. */
constexpr int64_t kKeys = 64;

/** The reference of a lane that has seen no key yet: below all scores, and finite, so that no difference of two is NaN. */
constexpr float kNoScore = -3.0e38f;

/** q · k become scores: scale · q · k or, with a cap c > 0, c · tanh(scale · q · k / c). */
static void bend(float* products, int64_t n, float scale, float c) {
  if (c > 0) map(products, n, [&](F32 x) { return c * tanh(x * (scale / c)); }, products);
  else map(products, n, [&](F32 x) { return scale * x; }, products);
}

#endif

}  // namespace GRAFT_ISA
}  // namespace graft
