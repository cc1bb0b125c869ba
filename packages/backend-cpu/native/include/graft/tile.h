// Products of small matrices, the right one in a panel of two vectors' width: what attention is made of.
//
//   c [rows, kPanel] (+)= a [rows, depth] · b [depth, kPanel]
//
// b and c are panels: row after row of kPanel floats, 64-byte aligned. a is read element by element and broadcast, either
// row-major (a[r · ld + k]) or transposed (a[k · ld + r]), so that nothing but the panels is ever packed. kTileRows rows
// of c are in registers at a time: 12 accumulators where there are 16 registers, 16 where there are 32, which covers an
// FMA's latency twice or four times a cycle. Every element of c is one chain of fma over k, whatever the tile it lies in.
#pragma once

#include <graft/simd.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

constexpr int kPanel = 2 * kLanes;
constexpr int kTileRows = kLanes == 8 ? 6 : 8;

template <int Rows, bool transposed>
GRAFT_INLINE void multiplyRows(float* c, const float* a, int64_t ld, const float* b, int64_t depth, bool accumulate) {
  F32 low[Rows], high[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    low[r] = accumulate ? load(c + r * kPanel) : splat(0);
    high[r] = accumulate ? load(c + r * kPanel + kLanes) : splat(0);
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; k++) {
    const F32 left = load(b + k * kPanel), right = load(b + k * kPanel + kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const F32 x = splat(transposed ? a[k * ld + r] : a[r * ld + k]);
      low[r] = fma(x, left, low[r]);
      high[r] = fma(x, right, high[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    store(c + r * kPanel, low[r]);
    store(c + r * kPanel + kLanes, high[r]);
  }
}

template <bool transposed>
[[maybe_unused]] static void multiply(float* c, const float* a, int64_t ld, const float* b, int64_t rows, int64_t depth, bool accumulate) {
  int64_t r = 0;
  const auto next = [&]() { return transposed ? a + r : a + r * ld; };
  for (; r + kTileRows <= rows; r += kTileRows)
    multiplyRows<kTileRows, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
  switch (rows - r) {
    case 1: return multiplyRows<1, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 2: return multiplyRows<2, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 3: return multiplyRows<3, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 4: return multiplyRows<4, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 5: return multiplyRows<5, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
#if GRAFT_LANES != 8
    case 6: return multiplyRows<6, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 7: return multiplyRows<7, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
#endif
    default: return;
  }
}

/** panel[i, lane] = factor · row(lane)[i] for i < n; lanes from `lanes` on repeat the last one. */
template <class Row>
GRAFT_INLINE void packPanel(float* panel, int64_t n, int64_t lanes, float factor, const Row& row) {
  for (int64_t first = 0; first < kPanel; first += kLanes) {
    decltype(row(0)) from[kLanes];
    for (int64_t lane = 0; lane < kLanes; lane++) from[lane] = row(smaller(first + lane, lanes - 1));
    float* to = panel + first;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      F32 block[kLanes];
      for (int lane = 0; lane < kLanes; lane++) block[lane] = factor * load(from[lane] + i);
      transpose(block);
      for (int lane = 0; lane < kLanes; lane++) store(to + (i + lane) * kPanel, block[lane]);
    }
    for (; i < n; i++)
      for (int lane = 0; lane < kLanes; lane++) to[i * kPanel + lane] = factor * widen(from[lane][i]);
  }
}

/** row(lane)[i] = panel[i, lane] · factors[lane] for i < n and lane < lanes */
template <class Row>
GRAFT_INLINE void unpackPanel(const float* panel, int64_t n, int64_t lanes, const float* factors, const Row& row) {
  for (int64_t first = 0; first < lanes; first += kLanes) {
    const int64_t count = smaller<int64_t>(kLanes, lanes - first);
    decltype(row(0)) to[kLanes];
    for (int64_t lane = 0; lane < count; lane++) to[lane] = row(first + lane);
    const float* from = panel + first;
    const F32 factor = load(factors + first);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      F32 block[kLanes];
      for (int lane = 0; lane < kLanes; lane++) block[lane] = factor * load(from + (i + lane) * kPanel);
      transpose(block);
      for (int64_t lane = 0; lane < count; lane++) store(to[lane] + i, block[lane]);
    }
    for (; i < n; i++)
      for (int64_t lane = 0; lane < count; lane++) narrow(from[i * kPanel + lane] * factors[first + lane], to[lane] + i);
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
