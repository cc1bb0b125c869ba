// Narrow products, those with a LoRA factor: one side has few outputs (the rank), the other is long.
//
//   sums[o, r] = sum over p of long[o, p] . narrow[r, p]     x A^T, dy B (its outputs are rows); dy^T h, dh^T x (columns)
//
// The narrow side is packed once for all workers. The long side is multiplied where it lies: read once, in the shade of the
// multiplications, where packing a panel of it takes as long as these. Of columns a strip is read by the first tile, which
// leaves it packed in the first-level cache for those of further rows.
//
// Slices of k, and the order within and over them, are those of gemm.h: a result has the same bits by either way.
#pragma once

#include <graft/gemm.h>
#include <graft/gemm_narrow_tile.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Up to so many outputs a side is narrow. */
constexpr int64_t narrowAtMost = 64;
/** From so many outputs a side is long; no tile is longer. */
constexpr int64_t longAtLeast = 32;
static_assert(tileWidth <= longAtLeast && narrowRowsAtMost <= longAtLeast);

/** A product; `asRows`: the long side's outputs are the rows of `out`, else its columns. */
struct Narrow {
  Output out;
  bool asRows;
  int64_t count, width, k;  // outputs of the long and of the narrow side, steps
  Matrix longSide, narrowSide;
};

/** Vectors of a tile along: all of the narrow side's or, over several tiles, so many that least is padded. */
GRAFT_INLINE int64_t vectorsOf(int64_t width) {
  const int64_t all = ceilDiv(width, lanes);
  if (all <= narrowVectors) return all;
  int64_t best = narrowVectors;
  for (int64_t fewer = best - 1; fewer > 1; fewer--)
    if (multipleUp(all, fewer) < multipleUp(all, best)) best = fewer;
  return best;
}
/** Elements of a step of the narrow side as packed. */
GRAFT_INLINE int64_t paddedWidth(int64_t width) { return multipleUp(width, lanes * vectorsOf(width)); }
constexpr int64_t paddedAtMost = multipleUp(narrowAtMost, lanes * narrowVectors);

/**
 * Whether one side is narrow, the other long, and the narrow one, packed, fits the scratch. Columns come a strip at a time,
 * from all rows: a matrix that memory holds, not the third-level cache, is better packed in wider blocks.
 */
GRAFT_INLINE bool isNarrow(const Pool& pool, int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b) {
  const int64_t width = smaller(m, n);
  const Matrix& longSide = m < n ? b : a;
  if (!longSide.along && k * longSide.ld * bytesOf(longSide.dtype) > packedRowsBytes) return false;
  return k > 0 && width <= narrowAtMost && larger(m, n) >= longAtLeast && a.dtype != DType::f16 && b.dtype != DType::f16 &&
         paddedWidth(width) * (k + lanes) * 4 + slackBytes <= static_cast<int64_t>(pool.sharedBytes);
}

/** use(reader) of a matrix in f32 or bf16. */
template <class Use>
GRAFT_INLINE void readNarrow(const Matrix& matrix, const Use& use) {
  if (matrix.dtype == DType::f32) {
    use(DenseReader<float>(matrix.data, matrix.ld));
  } else {
    use(DenseReader<BF16>(matrix.data, matrix.ld));
  }
}

/** out[column + j, row + i] (+)= scale * sums[i, j] */
template <class T>
GRAFT_INLINE void finishTurned(const Output& out, const float* sums, int64_t ld, int64_t row, int64_t rows, int64_t column,
                               int64_t columns) {
  alignas(64) float turned[lanes * lanes];
  for (int64_t i = 0; i < rows; i += lanes)
    for (int64_t j = 0; j < columns; j += lanes) {
      Words square[lanes];
#pragma GCC unroll 16
      for (int q = 0; q < lanes; q++) square[q] = i + q < rows ? loadWords(sums + (i + q) * ld + j) : Words{};
      transpose(square);
#pragma GCC unroll 16
      for (int q = 0; q < lanes; q++) storeWords(turned + q * lanes, square[q]);
      T* at = static_cast<T*>(out.data) + (column + j) * out.ld + row + i;
      for (int64_t q = 0; q < smaller(lanes, columns - j); q++) {
        if (out.accumulate) {
          finishRow<T, true, 0>(at + q * out.ld, turned + q * lanes, out.scale, smaller(lanes, rows - i));
        } else {
          finishRow<T, false, 0>(at + q * out.ld, turned + q * lanes, out.scale, smaller(lanes, rows - i));
        }
      }
    }
}
/** Sums [rows, columns] are those of out at (row, column) or, `turned`, at (column, row). They are readable in whole vectors. */
static void finishNarrow(const Output& out, bool turned, const float* sums, int64_t ld, int64_t row, int64_t rows,
                         int64_t column, int64_t columns) {
  if (!turned) {
    finishOutput(&out, sums, ld, row, rows, column, columns);
  } else if (out.dtype == DType::f32) {
    finishTurned<float>(out, sums, ld, row, rows, column, columns);
  } else {
    finishTurned<BF16>(out, sums, ld, row, rows, column, columns);
  }
}

/** Rows of the long side that a task takes: whole tiles and, where results are turned, whole vectors. */
constexpr int64_t narrowRowsOfTask = 48;
static_assert(narrowRowsOfTask % narrowRows(1) == 0 && narrowRowsOfTask % narrowRows(2) == 0 &&
              narrowRowsOfTask % narrowRows(3) == 0 && narrowRowsOfTask % narrowRows(narrowVectors) == 0);

template <class Kind>
static void multiplyAlong(const Pool& pool, const Narrow& p, const Slices<Kind>& slices, const typename Kind::Element* packed) {
  constexpr DType own = Kind::perElement == 1 ? DType::f32 : DType::bf16;
  constexpr int64_t copyStride = Kind::slice / Kind::perElement + lanes;
  const int64_t vectors = vectorsOf(p.width), ld = paddedWidth(p.width), rows = narrowRows(static_cast<int>(vectors));
  pool.parallel(ceilDiv(p.count, narrowRowsOfTask), [&](int64_t index, int) {
    alignas(64) float sums[narrowRowsOfTask * paddedAtMost];
    alignas(64) uint32_t copy[narrowRowsAtMost * copyStride];
    const int64_t from = index * narrowRowsOfTask, to = smaller(p.count, from + narrowRowsOfTask);
    // A last tile begins early enough to be whole: some rows are computed twice.
    const int64_t whole = (to - from) / rows, left = (to - from) % rows, count = whole + (left > 0 ? 1 : 0);
    const typename Kind::Element* a = packed;
    const auto where = [&](int64_t row, int64_t column) {
      return static_cast<const char*>(p.longSide.data) + (row * p.longSide.ld + column) * bytesOf(own);
    };
    for (int64_t s = 0; s < slices.count(); s++) {
      const auto slice = slices[s];
      // Rows that are no elements as they lie, by their format or an odd end, are copied.
      const bool direct = p.longSide.dtype == own && slice.k % Kind::perElement == 0;
      for (int64_t t = 0; t < count; t++) {
        const int64_t start = smaller(from + t * rows, to - rows);
        const char *at = reinterpret_cast<const char*>(copy), *next = at;
        int64_t stride = copyStride * 4;
        if (direct) {
          at = where(start, slice.k0);
          // The next slice after the last tile of one, at the end the task that is likely to follow.
          next = t + 1 < count ? where(start + rows, slice.k0) : s + 1 < slices.count() ? where(from, slice.k0 + slice.k) : where(to, 0);
          stride = p.longSide.ld * bytesOf(own);
        } else {
          readNarrow(p.longSide, [&](const auto& reader) {
            copyRows<Kind>(reader, reinterpret_cast<typename Kind::Element*>(copy), copyStride, start, rows, slice.k0, slice.k);
          });
        }
        for (int64_t v = 0; v < ld; v += vectors * lanes)
          runTileAlong<Kind>(vectors, slice.elements, at, stride, AskRows(next, stride), a + v, ld, sums + t * rows * ld + v, s > 0);
      }
      a += slice.elements * ld;
    }
    finishNarrow(p.out, !p.asRows, sums, ld, from, whole * rows, 0, p.width);
    finishNarrow(p.out, !p.asRows, sums + (count * rows - left) * ld, ld, to - left, left, 0, p.width);
  });
}

/** Strips of the long side: of its columns or, `turned`, of its rows. */
template <class Kind>
static void multiplyStrips(const Pool& pool, const Narrow& p, const Slices<Kind>& slices, const typename Kind::Element* packed) {
  const bool turned = p.longSide.along;
  const int64_t ld = paddedWidth(p.width);
  // Tiles of an even number of rows of the narrow side, half as many functions: it is padded.
  const int64_t halves = ceilDiv(p.width, 2), count = ceilDiv(halves, tileRows / 2);
  const Tiles tiles{halves, count, halves / count, halves % count};
  pool.parallel(ceilDiv(p.count, tileWidth), [&](int64_t index, int) {
    alignas(64) float sums[narrowAtMost * tileWidth + lanes];
    alignas(64) uint32_t strip[(Kind::slice / Kind::perElement + lanes) * tileWidth];
    // The last strip begins early enough to be whole: some of its outputs are computed twice.
    const int64_t from = index * tileWidth, first = smaller(from, p.count - tileWidth);
    const typename Kind::Element* a = packed;
    for (int64_t s = 0; s < slices.count(); s++) {
      const auto slice = slices[s];
      readNarrow(p.longSide, [&](const auto& reader) {
        const int64_t rows = 2 * tiles.size(0);
        if constexpr (turnedAtMost > 0)
          if (turned) tileTurned<Kind, turnedAtMost>(reader, first, slice.k0, slice.k, a, ld, sums, s > 0);
        if (turned) return;
        if (count == 1) {
          runTileAcross<Kind, false>(rows, reader, slice.k0, first, slice.k, a, ld, sums, s > 0, strip);
        } else {
          runTileAcross<Kind, true>(rows, reader, slice.k0, first, slice.k, a, ld, sums, s > 0, strip);
        }
      });
      for (int64_t t = 1; t < count; t++)
        runTileAcross<Kind, false>(2 * tiles.size(t), StripReader{strip}, int64_t{0}, int64_t{0}, slice.elements * Kind::perElement,
                                   a + 2 * tiles.start(t), ld, sums + 2 * tiles.start(t) * tileWidth, s > 0, strip);
      a += slice.elements * ld;
    }
    finishNarrow(p.out, p.asRows, sums + (from - first), tileWidth, 0, p.width, from, first + tileWidth - from);
  });
}

/** Packs steps [k0, k0 + k) of the narrow side. What follows its outputs is of no account. */
template <class Kind>
static void packNarrow(const Narrow& p, typename Kind::Element* to, int64_t k0, int64_t k) {
  const int64_t ld = paddedWidth(p.width);
  if (p.narrowSide.along) {
    pack<Kind>(p.narrowSide, to, ld, 0, p.width, k0, k);
    return;
  }
  readNarrow(p.narrowSide, [&](const auto& reader) {
    for (int64_t c = 0; c < k; c += Kind::perElement, to += ld)
      for (int64_t j = 0; j < ld; j += lanes) {
        const bool both = c + 1 < k;
        // Whole vectors, but for the matrix's end.
        const bool inside = (k0 + c + (both ? Kind::perElement - 1 : 0)) * p.narrowSide.ld + j + lanes <= (p.k - 1) * p.narrowSide.ld + p.width;
        storeWords(to + j, inside ? readAcross<Kind>(reader, k0 + c, j, both)
                                  : readAcrossPart<Kind>(reader, k0 + c, j, p.width - j, both));
      }
  });
}

template <class Kind>
static inline void multiplyNarrow(const Pool& pool, const Narrow& p) {
  const Term term{p.k, {}, {}};
  const Slices<Kind> slices = slicesOf<Kind>(&term, 1);
  auto* packed = static_cast<typename Kind::Element*>(pool.shared());
  pool.parallel(slices.count(), [&](int64_t s, int) {
    typename Kind::Element* to = packed;
    for (int64_t before = 0; before < s; before++) to += slices[before].elements * paddedWidth(p.width);
    packNarrow<Kind>(p, to, slices[s].k0, slices[s].k);
  });
  if (p.longSide.along && p.width > turnedAtMost) {
    multiplyAlong(pool, p, slices, packed);
  } else {
    multiplyStrips(pool, p, slices, packed);
  }
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
