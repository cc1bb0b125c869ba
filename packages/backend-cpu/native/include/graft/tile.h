// Products of small matrices, the right one in a panel of two vectors' width: what attention is made of.
//
//   c [rows, kPanel] (+)= a [rows, depth] · b [depth, kPanel]
//
// A `Kind` (gemm_tile.h) says what is multiplied: Singles are floats; an element of Pairs is two neighbours along the depth
// in bf16, so that one instruction does two steps, and `depth` counts elements. b and c are panels: row after row of kPanel
// elements, 64-byte aligned. a is read element by element and broadcast, either row-major (a[r · ld + k]) or transposed
// (a[k · ld + r]). kTileRows rows of c are in registers at a time: 12 accumulators where there are 16 registers, 16 where
// there are 32, which covers a multiply-add's latency twice or four times a cycle. Every element of c is one chain of
// multiply-adds over k, whatever the tile it lies in.
//
// Rows of floats lie right for both sides of a product, and neither is packed but the panels. Pairs run along the rows
// (copyAlong, packPanel) or down the columns (copyAcross, putRows), each with zeros where a partner is missing.
#pragma once

#include <graft/block.h>
#include <graft/gemm_tile.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

using panels::Pairs;
using panels::Singles;

constexpr int kPanel = 2 * kLanes;
constexpr int kTileRows = kLanes == 8 ? 6 : 8;

/** Whether all are bf16: an instruction set that multiplies pairs takes them as they are. */
template <class... Each>
GRAFT_INLINE bool inPairs(const Each&... operands) {
  return ((operands.dtype == DType::bf16) && ...);
}

/** Elements that hold n neighbours. */
template <class Kind>
GRAFT_INLINE constexpr int64_t elementsOf(int64_t n) {
  return ceilDiv(n, Kind::perElement);
}

template <class Kind, int Rows, bool transposed>
GRAFT_INLINE void multiplyRows(float* c, const typename Kind::Element* a, int64_t ld, const typename Kind::Element* b, int64_t depth, bool accumulate) {
  F32 low[Rows], high[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    low[r] = accumulate ? load(c + r * kPanel) : splat(0);
    high[r] = accumulate ? load(c + r * kPanel + kLanes) : splat(0);
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; k++) {
    const auto left = Kind::load(b + k * kPanel), right = Kind::load(b + k * kPanel + kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const auto x = panels::broadcast(transposed ? a[k * ld + r] : a[r * ld + k]);
      low[r] = Kind::step(x, left, low[r]);
      high[r] = Kind::step(x, right, high[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    store(c + r * kPanel, low[r]);
    store(c + r * kPanel + kLanes, high[r]);
  }
}

template <class Kind, bool transposed>
[[maybe_unused]] static void multiply(float* c, const typename Kind::Element* a, int64_t ld, const typename Kind::Element* b, int64_t rows, int64_t depth, bool accumulate) {
  int64_t r = 0;
  const auto next = [&]() { return transposed ? a + r : a + r * ld; };
  for (; r + kTileRows <= rows; r += kTileRows)
    multiplyRows<Kind, kTileRows, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
  switch (rows - r) {
    case 1: return multiplyRows<Kind, 1, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 2: return multiplyRows<Kind, 2, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 3: return multiplyRows<Kind, 3, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 4: return multiplyRows<Kind, 4, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 5: return multiplyRows<Kind, 5, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
#if GRAFT_LANES != 8
    case 6: return multiplyRows<Kind, 6, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
    case 7: return multiplyRows<Kind, 7, transposed>(c + r * kPanel, next(), ld, b, depth, accumulate);
#endif
    default: return;
  }
}

/** use(x's elements in their own type); Pairs are made of bf16 alone. */
template <class Kind, class Use>
GRAFT_INLINE void withElements(const Operand& x, const Use& use) {
  if constexpr (Kind::perElement == 2) use(x.as<BF16>());
  else if (x.dtype == DType::bf16) use(x.as<BF16>());
  else use(x.as<float>());
}

/** The element that begins at p, with `left` values from there to the row's end. */
template <class Kind, class T>
GRAFT_INLINE typename Kind::Element elementAt(const T* p, int64_t left) {
  if constexpr (Kind::perElement == 1) return widen(*p);
  else return uint32_t(p[0].bits) | (left > 1 ? uint32_t(p[1].bits) << 16 : 0);
}

/** panel[i, lane] = row(lane)'s element i, for n values a row; lanes from `lanes` on repeat the last one. */
template <class Kind, class Row>
GRAFT_INLINE void packPanel(typename Kind::Element* panel, int64_t n, int64_t lanes, const Row& row) {
  constexpr int64_t per = Kind::perElement;
  for (int64_t first = 0; first < kPanel; first += kLanes) {
    decltype(row(0)) from[kLanes];
    for (int64_t lane = 0; lane < kLanes; lane++) from[lane] = row(smaller(first + lane, lanes - 1));
    typename Kind::Element* to = panel + first;
    int64_t i = 0;
    for (; i + per * kLanes <= n; i += per * kLanes) {
      if constexpr (per == 1) {
        F32 block[kLanes];
        for (int lane = 0; lane < kLanes; lane++) block[lane] = load(from[lane] + i);
        transpose(block);
        for (int lane = 0; lane < kLanes; lane++) store(to + (i + lane) * kPanel, block[lane]);
      } else {
        panels::Words block[kLanes];
        for (int lane = 0; lane < kLanes; lane++) block[lane] = panels::loadWords(from[lane] + i);
        panels::transpose(block);
        for (int lane = 0; lane < kLanes; lane++) panels::storeWords(to + (i / per + lane) * kPanel, block[lane]);
      }
    }
    for (; i < n; i += per)
      for (int lane = 0; lane < kLanes; lane++) to[i / per * kPanel + lane] = elementAt<Kind>(from[lane] + i, n - i);
  }
}

/** to [rows, elements of n] = n values from x[at(j)] on, for each row j */
template <class Kind, class At>
GRAFT_INLINE void copyAlong(typename Kind::Element* to, const Operand& x, int64_t rows, int64_t n, const At& at) {
  const int64_t ld = elementsOf<Kind>(n);
  for (int64_t j = 0; j < rows; j++) {
    if constexpr (Kind::perElement == 1) {
      copyWidened(to + j * ld, x, at(j), n);
    } else {
      const BF16* from = x.as<BF16>() + at(j);
      int64_t i = 0;
      for (; i + kPanel <= n; i += kPanel) panels::storeWords(to + j * ld + i / 2, panels::loadWords(from + i));
      for (; i < n; i += 2) to[j * ld + i / 2] = elementAt<Pairs>(from + i, n - i);
    }
  }
}

/** Two vectors rounded to bf16, one after the other. */
GRAFT_INLINE panels::Words narrowTwo(F32 first, F32 second) {
#if defined(__AVX512BF16__) && GRAFT_LANES == 16
  return bitsAs<panels::Words>(_mm512_cvtne2ps_pbh(second, first));
#else
  return panels::joinHalves(panels::narrowFloats(first), panels::narrowFloats(second));
#endif
}

#if defined(__AVX512BW__) && GRAFT_LANES == 16
/** Positions of 16 bits in one or two vectors: `from` on and `other` on, in turns. */
GRAFT_INLINE __m512i alternately(uint32_t from, uint32_t other) {
  // Written out: GCC 12 makes a vector that a loop fills anew, lane by lane, wherever it is used.
  constexpr panels::Words lane{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return bitsAs<__m512i>(lane * 0x10001u + (from | other << 16));
}
#endif

/** Each of kPanel values in bf16 with the one below: the first kLanes of the pairs, then the others. */
GRAFT_INLINE void pairRows(panels::Words upper, panels::Words lower, panels::Words (&pairs)[2]) {
#if defined(__AVX512BW__) && GRAFT_LANES == 16
  for (int half = 0; half < 2; half++)
    pairs[half] = bitsAs<panels::Words>(_mm512_permutex2var_epi16(bitsAs<__m512i>(upper), alternately(half * kLanes, kPanel + half * kLanes), bitsAs<__m512i>(lower)));
#else
  BF16 above[kPanel], below[kPanel];
  panels::storeWords(above, upper);
  panels::storeWords(below, lower);
  for (int half = 0; half < 2; half++)
    pairs[half] = panels::loadHalves(above + half * kLanes) | panels::loadHalves(below + half * kLanes) << 16;
#endif
}

/** to [pairs of rows, n]: each value with the one below, 0 under the last row; of Singles that is copyAlong. */
template <class Kind, class At>
GRAFT_INLINE void copyAcross(typename Kind::Element* to, const Operand& x, int64_t rows, int64_t n, const At& at) {
  if constexpr (Kind::perElement == 1) {
    copyAlong<Kind>(to, x, rows, n, at);
  } else {
    for (int64_t j = 0; j < rows; j += 2) {
      const bool both = j + 1 < rows;
      const BF16 *upper = x.as<BF16>() + at(j), *lower = both ? x.as<BF16>() + at(j + 1) : upper;
      uint32_t* own = to + j / 2 * n;
      int64_t i = 0;
      for (; i + kPanel <= n; i += kPanel) {
        panels::Words pairs[2];
        pairRows(panels::loadWords(upper + i), both ? panels::loadWords(lower + i) : panels::Words{}, pairs);
        for (int c = 0; c < 2; c++) panels::storeWords(own + i + c * kLanes, pairs[c]);
      }
      for (; i < n; i++) own[i] = upper[i].bits | (both ? uint32_t(lower[i].bits) << 16 : 0);
    }
  }
}

/** Rows j and j + 1 (j even) of a panel as a product's right side: two rows of floats, or one of pairs, in the same memory. */
template <class Kind>
GRAFT_INLINE void putRows(float* panel, int64_t j, const F32 (&upper)[2], const F32 (&lower)[2]) {
  if constexpr (Kind::perElement == 1) {
    for (int c = 0; c < 2; c++) {
      store(panel + j * kPanel + c * kLanes, upper[c]);
      store(panel + (j + 1) * kPanel + c * kLanes, lower[c]);
    }
  } else {
    panels::Words pairs[2];
    pairRows(narrowTwo(upper[0], upper[1]), narrowTwo(lower[0], lower[1]), pairs);
    for (int c = 0; c < 2; c++) panels::storeWords(panel + j / 2 * kPanel + c * kLanes, pairs[c]);
  }
}

/** Two vectors rounded to bf16, lane beside lane. */
GRAFT_INLINE panels::Words narrowInTurns(F32 first, F32 second) {
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && GRAFT_LANES == 16
  return bitsAs<panels::Words>(_mm512_permutexvar_epi16(alternately(0, kLanes), bitsAs<__m512i>(narrowTwo(first, second))));
#else
  return panels::narrowFloats(first) | panels::narrowFloats(second) << 16;
#endif
}

/** The rows that putRows put there. */
template <class Kind>
GRAFT_INLINE const typename Kind::Element* right(const float* panel) {
  return reinterpret_cast<const typename Kind::Element*>(panel);
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
    // bf16 is joined to words first: half as much is transposed.
    if constexpr (panels::multipliesPairs && __is_same(decltype(row(0)), BF16*))
      for (; i + kPanel <= n; i += kPanel) {
        panels::Words block[kLanes];
        for (int w = 0; w < kLanes; w++)
          block[w] = narrowInTurns(factor * load(from + (i + 2 * w) * kPanel), factor * load(from + (i + 2 * w + 1) * kPanel));
        panels::transpose(block);
        for (int64_t lane = 0; lane < count; lane++) panels::storeWords(to[lane] + i, block[lane]);
      }
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
