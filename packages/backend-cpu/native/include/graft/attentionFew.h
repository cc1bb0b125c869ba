// Attention of few rows, as in decoding: lanes are a head's elements, and keys and values are read where they lie (formula
// and notation: kernels/attention.cc).
#pragma once

#include <graft/attentionScores.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** Up to so many rows the lanes are a head's elements: a panel would be mostly empty. */
constexpr int64_t kFewRows = kLanes / 2;

/** `count` rows of k or v as f32 rows of `stride` floats: the memory itself if it is f32 in whole vectors, else a padded copy. */
struct KeyRows {
  const float* data;
  int64_t stride;
};
GRAFT_INLINE KeyRows keyRows(const Attention& call, const Operand& x, const Rows& rows, int64_t first, int64_t count, float* copy) {
  const int64_t n = call.heads.headDim, padded = ceilDiv(n, kLanes) * kLanes;
  if (x.dtype == DType::f32 && n == padded)
    return {x.as<const float>() + call.keyAt(rows, first), call.heads.kvHeads * n};
  for (int64_t j = 0; j < count; j++) {
    if (first + count + j < rows.segment.keys) fetchRow(x, call.keyAt(rows, first + count + j), n);  // of the next tile
    copyWidened(copy + j * padded, x, call.keyAt(rows, first + j), n);
    for (int64_t i = n; i < padded; i++) copy[j * padded + i] = 0;
  }
  return {copy, padded};
}

/** scores[j] = query · key j, four keys at a time so that their sums don't wait for each other */
GRAFT_INLINE void score(float* scores, const float* query, const KeyRows& keys, int64_t count, int64_t padded) {
  for (int64_t j = 0; j < count; j += 4) {
    const float* key[4];
    F32 dot[4];
    for (int i = 0; i < 4; i++) key[i] = keys.data + smaller(j + i, count - 1) * keys.stride, dot[i] = splat(0);
    for (int64_t i = 0; i < padded; i += kLanes) {
      const F32 q = load(query + i);
      for (int k = 0; k < 4; k++) dot[k] = fma(q, load(key[k] + i), dot[k]);
    }
    for (int64_t i = 0; i < smaller<int64_t>(4, count - j); i++) scores[j + i] = sum(dot[i]);
  }
}

/** result = shrink · result + Σ_j weights[j] · value j, four vectors of the head at a time */
GRAFT_INLINE void gather(float* result, float shrink, const float* weights, const KeyRows& values, int64_t count, int64_t padded) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= padded; i += 4 * kLanes) {
    F32 part[4];
    for (int c = 0; c < 4; c++) part[c] = shrink * load(result + i + c * kLanes);
    for (int64_t j = 0; j < count; j++)
      for (int c = 0; c < 4; c++) part[c] = fma(splat(weights[j]), load(values.data + j * values.stride + i + c * kLanes), part[c]);
    for (int c = 0; c < 4; c++) store(result + i + c * kLanes, part[c]);
  }
  for (; i < padded; i += kLanes) {
    F32 part = shrink * load(result + i);
    for (int64_t j = 0; j < count; j++) part = fma(splat(weights[j]), load(values.data + j * values.stride + i), part);
    store(result + i, part);
  }
}

static void attendFew(const Attention& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim, padded = ceilDiv(n, kLanes) * kLanes, count = rows.end - rows.begin;
  float *copy = scratch.take(kKeys * padded), *query = scratch.take(kFewRows * padded), *result = scratch.take(kFewRows * padded);
  float *scores = scratch.take(kFewRows * kKeys), reference[kFewRows], total[kFewRows], shrink[kFewRows];
  std::memset(query, 0, size_t(kFewRows * padded) * sizeof(float));
  std::memset(result, 0, size_t(kFewRows * padded) * sizeof(float));
  for (int64_t r = 0; r < count; r++) {
    copyWidened(query + r * padded, call.q, call.queryAt(rows, rows.begin + r), n);
    reference[r] = kNoScore, total[r] = 0;
  }
  const int64_t most = rows.visible(rows.end - 1);
  for (int64_t first = rows.hidden(rows.begin) / kKeys * kKeys; first < most; first += kKeys) {
    const int64_t tile = smaller(kKeys, most - first);
    const KeyRows keys = keyRows(call, call.k, rows, first, tile, copy);
    for (int64_t r = 0; r < count; r++) {
      const int64_t seen = smaller(tile, rows.visible(rows.begin + r) - first);
      float* own = scores + r * kKeys;
      shrink[r] = 1;
      for (int64_t j = larger<int64_t>(0, seen); j < kKeys; j++) own[j] = -__builtin_inff();
      if (seen <= 0) continue;
      score(own, query + r * padded, keys, seen, padded);
      bend(own, seen, call.scale, call.softCap);
      for (int64_t j = 0; j < smaller(seen, rows.hidden(rows.begin + r) - first); j++) own[j] = -__builtin_inff();
      F32 top = load(own);
      for (int64_t j = kLanes; j < kKeys; j += kLanes) top = maximum(load(own + j), top);
      const float before = reference[r];
      reference[r] = larger(before, largest(top));
      shrink[r] = laneOf(softmaxExp(splat(before - reference[r])), 0);
      total[r] = total[r] * shrink[r];
    }
    const KeyRows values = keyRows(call, call.v, rows, first, tile, copy);
    for (int64_t r = 0; r < count; r++) {
      if (rows.visible(rows.begin + r) <= first) continue;
      float* own = scores + r * kKeys;
      map(own, kKeys, [&](F32 s) { return softmaxExp(s - reference[r]); }, own);
      total[r] += mapSum(kKeys, [](F32 weight) { return weight; }, own);
      gather(result + r * padded, shrink[r], own, values, tile, padded);
    }
  }
  for (int64_t r = 0; r < count; r++) {
    const bool sees = rows.visible(rows.begin + r) > 0;
    float* own = result + r * padded;
    if (sees) map(own, padded, [&](F32 x) { return x / total[r]; }, own);
    write(call.out, call.queryAt(rows, rows.begin + r), n, own);
    call.lseAt(rows, rows.begin + r) = sees ? float(reference[r] + __builtin_log(double(total[r]))) : 0;
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
