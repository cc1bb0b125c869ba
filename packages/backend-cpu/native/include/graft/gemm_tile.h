// The register tile: c[rows, width] (+)= a[k, rows] . b[k, width], all of c in registers while k runs.
//
// `Singles` multiplies floats. `Pairs` multiplies bf16: an element of a panel is a pair of neighbours along the reduction, so
// that one instruction does two steps of it. Every lane of c is one chain of multiply-adds in the order of k; a result
// does not depend on the tile that it falls in.
#pragma once

#include <graft/gemm_vector.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

// Tile sizes: rows x vectors accumulators, the vectors of b and one of a must fit the registers (16 on AVX2, 32 elsewhere).
#if GRAFT_LANES == 8
constexpr int tileRows = 6, tileVectors = 2;
#elif GRAFT_LANES == 16
constexpr int tileRows = 12, tileVectors = 2;
#else
constexpr int tileRows = 8, tileVectors = 3;
#endif
constexpr int tileWidth = tileVectors * lanes;
/** How far ahead, in elements, a tile asks for its rows: 3 KiB, half a tile or more. */
constexpr int aheadOfRows = 768;

struct Singles {
  using Element = float;
  using Vector = Floats;
  static constexpr int perElement = 1;
  /** Reduction of one slice: a panel of b (slice x tileWidth) shares the first-level cache with a tile's rows of a. */
  static constexpr int64_t slice = 256;
  static GRAFT_INLINE Vector load(const Element* p) { return loadFloats(p); }
  static GRAFT_INLINE Floats step(Vector a, Vector b, Floats sum) { return fma(a, b, sum); }
#if defined(__aarch64__)
  template <int Lane>
  static GRAFT_INLINE Floats stepLane(Vector a, Vector b, Floats sum) {
    return vfmaq_laneq_f32(sum, b, a, Lane);
  }
#endif
};

struct Pairs {
  using Element = uint32_t;
  using Vector = Words;
  static constexpr int perElement = 2;
  static constexpr int64_t slice = 512;
  static GRAFT_INLINE Vector load(const Element* p) { return loadWords(p); }
  static GRAFT_INLINE Floats step(Vector a, Vector b, Floats sum) { return multiplyAddPairs(a, b, sum); }
#if defined(__aarch64__)
  template <int Lane>
  static GRAFT_INLINE Floats stepLane(Vector a, Vector b, Floats sum) {
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    return vbfdotq_laneq_f32(sum, bitsAs<bfloat16x8_t>(b), bitsAs<bfloat16x8_t>(a), Lane);
#else
    return multiplyAddPairs(Vector{a[Lane], a[Lane], a[Lane], a[Lane]}, b, sum);
#endif
  }
#endif
};

/**
 * Cache lines that are needed soon: a tile asks for `count` of them, evenly over its steps, so that memory works while it
 * multiplies. Only where a step's arithmetic takes long enough to hide the asking. lines[0] is there even if count is 0.
 */
struct Ahead {
  const void* const* lines;
  int64_t count;
};
constexpr bool asksAhead = lanes == 16;

template <class Kind>
using Tile = void (*)(int64_t k, const typename Kind::Element* a, const typename Kind::Element* b, float* c, bool add,
                      const Ahead& ahead);

#if defined(__aarch64__)
template <int I, int Rows, class Kind>
GRAFT_INLINE void stepRows(const typename Kind::Vector* a, const typename Kind::Vector* b, Floats (*sums)[tileVectors]) {
  if constexpr (I < Rows) {
    for (int v = 0; v < tileVectors; v++) sums[I][v] = Kind::template stepLane<I % lanes>(a[I / lanes], b[v], sums[I][v]);
    stepRows<I + 1, Rows, Kind>(a, b, sums);
  }
}
#endif

/** k counts elements (of Pairs: pairs). `c` is tileWidth wide; `add`: c += instead of c =. */
template <class Kind, int Rows>
static void tile(int64_t k, const typename Kind::Element* a, const typename Kind::Element* b, float* c, bool add,
                 const Ahead& ahead) {
  using Vector = typename Kind::Vector;
  Floats sums[Rows][tileVectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
    for (int v = 0; v < tileVectors; v++) sums[i][v] = Floats{};
  const void* const* const lines = ahead.lines;
  const uint64_t stepOfLines = asksAhead ? (static_cast<uint64_t>(ahead.count) << 32) / static_cast<uint64_t>(k) : 0;
  uint64_t line = 0;
#pragma GCC unroll 1
  for (int64_t p = 0; p < k; p++, a += Rows, b += tileWidth) {
    // a comes from the second-level cache, and the hardware's prefetcher starts anew with each tile; b is prefetched where
    // its panel fills the first level. Addresses past the end do no harm.
    prefetch(a + aheadOfRows);
    if constexpr (lanes == 16) {
      prefetch(b + 8 * tileWidth);
      prefetch(b + 8 * tileWidth + lanes);
    }
    if constexpr (asksAhead) {
      __builtin_prefetch(lines[line >> 32], 0, 2);  // to the second level: the first is full of this tile's
      line += stepOfLines;
    }
    Vector column[tileVectors];
#pragma GCC unroll 4
    for (int v = 0; v < tileVectors; v++) column[v] = Kind::load(b + v * lanes);
#if defined(__aarch64__)
    // Reads up to three elements past the last row: the next step's, or the slack behind the panels.
    Vector row[(Rows + lanes - 1) / lanes];
    for (int q = 0; q < (Rows + lanes - 1) / lanes; q++) row[q] = Kind::load(a + q * lanes);
    stepRows<0, Rows, Kind>(row, column, sums);
#else
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      const Vector row = broadcast(a[i]);
#pragma GCC unroll 4
      for (int v = 0; v < tileVectors; v++) sums[i][v] = Kind::step(row, column[v], sums[i][v]);
    }
#endif
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
    for (int v = 0; v < tileVectors; v++) {
      float* at = c + i * tileWidth + v * lanes;
      store(at, add ? loadFloats(at) + sums[i][v] : sums[i][v]);
    }
}

/** The tile of `rows` rows, 1 to tileRows. */
template <class Kind, int Rows = tileRows>
GRAFT_INLINE Tile<Kind> tileOf(int64_t rows) {
  if constexpr (Rows == 1) {
    return tile<Kind, 1>;
  } else {
    return rows == Rows ? tile<Kind, Rows> : tileOf<Kind, Rows - 1>(rows);
  }
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
