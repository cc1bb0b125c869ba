// A pass over a run of parameters, block by block (src/updateKernels.ts): gradient, state and parameter are read once, state
// and parameter written once. State lies in records of a block each (src/stateRecord.ts):
//
//   32 bits   state1 f32 [n], state2 f32 [n]
//    8 bits   absmax f32 [states], codes1 u8 [n], codes2 u8 [n]       state = map[code] · absmax
//
// 8-bit state is widened into buffers of a block, updated there, and quantised: absmax = max |state|, and the code of
// state / absmax by the map's table. Blocks are independent: the bits do not depend on threads.
#pragma once

#include <graft/simd.h>

#include "dynamicMap.h"

namespace graft {
namespace GRAFT_ISA {

constexpr int64_t kStateBlock = 256;
/** Blocks of a task: some 16 thousand parameters. */
constexpr int64_t kBlocksOfTask = 64;

/** a · b + c rounded once, for the scalar set too: the product of two floats is exact in double. */
GRAFT_INLINE F32 fused(F32 a, F32 b, F32 c) {
#if GRAFT_SCALAR
  return float(double(a) * b + c);
#else
  return fma(a, b, c);
#endif
}

/** Bytes of the record of a block of n. */
template <int bits, int states>
constexpr int64_t recordBytes(int64_t n) {
  return bits == 32 ? 4 * states * n : states * (4 + n);
}

/** Of one state of a block in 8 bits: what its numbers are multiplied by, and then the largest of them. */
struct Scale {
  float absmax;
  F32 top;
};

/**
 * update(w, g, s1, s2) for each vector of a block; g is multiplied by the factor. s2 is waste where there is one state.
 * With 8 bits, state comes without its scales, and the largest are found on the way.
 */
template <int bits, int states, class Update>
GRAFT_INLINE void updateBlock(int64_t n, float* w, const float* g, float* s1, float* s2, float factor, Scale* scales, const Update& update) {
  const auto one = [&](F32& weight, F32 gradient, F32& first, F32& second) {
    if (bits == 8) first = first * scales[0].absmax, second = second * scales[states - 1].absmax;
    update(weight, gradient * factor, first, second);
    if (bits == 8) {
      scales[0].top = maximum(maximum(first, -first), scales[0].top);
      if (states == 2) scales[1].top = maximum(maximum(second, -second), scales[1].top);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F32 weight = load(w + i), first = load(s1 + i), second = states == 2 ? load(s2 + i) : splat(0);
    one(weight, load(g + i), first, second);
    store(w + i, weight);
    store(s1 + i, first);
    if (states == 2) store(s2 + i, second);
  }
  if (const int64_t rest = n - i; rest > 0) {
    F32 weight = loadPart(w + i, rest), first = loadPart(s1 + i, rest), second = states == 2 ? loadPart(s2 + i, rest) : splat(0);
    one(weight, loadPart(g + i, rest), first, second);
    storePart(w + i, weight, rest);
    storePart(s1 + i, first, rest);
    if (states == 2) storePart(s2 + i, second, rest);
  }
}

/** wide[n] = map[codes[n]]. Eight at a time by hand: a compiler's vectors of single loads are slower, and so is a gather. */
GRAFT_INLINE void widenState(float* wide, const uint8_t* codes, int64_t n, const DynamicMap& map) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    __builtin_memcpy(&eight, codes + i, sizeof eight);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
      auto bits = bitsAs<uint32_t>(map.values[eight >> 8 * k & 255]);
      asm("" : "+r"(bits));
      __builtin_memcpy(wide + i + k, &bits, sizeof bits);
    }
  }
  for (; i < n; i++) wide[i] = map.values[codes[i]];
}
/** The codes of state / absmax. What lies behind n in `wide` counts for nothing. */
GRAFT_INLINE void narrowState(uint8_t* codes, const float* wide, float absmax, int64_t n, const DynamicMap& map) {
  const F32 reciprocal = splat(1.0f / absmax);
  alignas(64) int32_t points[kStateBlock];
  int64_t i = 0;
  for (; i < n; i += kLanes) {
    // NaN, from 0 · ∞ where absmax is 0 or subnormal, becomes −1, whose code is 0.
    const F32 scaled = minimum(maximum(load(wide + i) * reciprocal, splat(-1)), splat(1));
    const I32 point = toInt((scaled + 1.0f) * 0.5f * 65535.0f + 0.5f);
    __builtin_memcpy(points + i, &point, sizeof point);
  }
  for (i = 0; i + 8 <= n; i += 8) {
    uint64_t eight = 0;
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) eight |= uint64_t{map.codes[points[i + k]]} << 8 * k;
    __builtin_memcpy(codes + i, &eight, sizeof eight);
  }
  for (; i < n; i++) codes[i] = map.codes[points[i]];
}

/**
 * Operands: parameters f32, state u8, gradients f32, control f32 [4] = (factor, finite, steps, norm); params begin with start,
 * count (elements of parameters and gradients) and offset (bytes of state). A step that is not finite changes nothing.
 */
template <int bits, int states, class Update>
GRAFT_INLINE void updateRun(const Call& call, const Update& update) {
  const float factor = call[3].as<const float>()[0];
  const int64_t start = static_cast<int64_t>(call.params[0]), count = static_cast<int64_t>(call.params[1]);
  float* weights = call[0].as<float>() + start;
  const float* gradients = call[2].as<const float>() + start;
  unsigned char* state = call[1].as<unsigned char>() + static_cast<int64_t>(call.params[2]);
  const int64_t blocks = ceilDiv(count, kStateBlock);
  call.pool.parallel(ceilDiv(blocks, kBlocksOfTask), [&](int64_t task, int) {
    alignas(64) float wide[2][kStateBlock];
    const int64_t end = smaller(blocks, (task + 1) * kBlocksOfTask);
    for (int64_t b = task * kBlocksOfTask; b < end; b++) {
      const int64_t from = b * kStateBlock, n = smaller(kStateBlock, count - from);
      unsigned char* record = state + b * recordBytes<bits, states>(kStateBlock);
      float* floats = reinterpret_cast<float*>(record);
      if constexpr (bits == 32) {
        updateBlock<32, states>(n, weights + from, gradients + from, floats, floats + n, factor, nullptr, update);
      } else {
        unsigned char* codes = record + 4 * states;
        Scale scales[states];
        for (int s = 0; s < states; s++) {
          widenState(wide[s], codes + s * n, n, dynamicMaps[s]);
          scales[s] = {floats[s], splat(0)};
        }
        updateBlock<8, states>(n, weights + from, gradients + from, wide[0], wide[1], factor, scales, update);
        for (int s = 0; s < states; s++) {
          floats[s] = largest(scales[s].top);
          narrowState(codes + s * n, wide[s], floats[s], n, dynamicMaps[s]);
        }
      }
    }
  });
}

}  // namespace GRAFT_ISA
}  // namespace graft
