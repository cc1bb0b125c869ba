// Packing: a block of rows and columns, read through a `Reader`, becomes panels in the tile's element format.
//
// A panel of `width` outputs and k reduction elements is dst[p * width + j]; several panels follow one another. Outputs are
// either the rows of what is read (`packAlong`: an output's values lie side by side, squares of lanes x lanes are
// transposed in registers) or its columns (`packAcross`: a step's outputs lie side by side, rows are copied).
//
// A reader of a storage format is a type with
//   Floats floats(row, column)             `lanes` neighbours of a row, in f32
//   Floats floatsPart(row, column, count)  the first `count` < lanes of them, zeros after
//   void ahead(row, column, count)         asks for the cache lines of `count` neighbours; any row, also past the last
//   Words halves(row, column)              as floats, bf16 in the low half of each lane
//   Words pairs(row, column)               2 * lanes neighbours, in pairs of bf16
// and derives from ReaderOf for the last two, unless it has a shorter way. A codec's fill functions are then two calls.
#pragma once

#include <graft/gemm_tile.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

template <class Own>
struct ReaderOf {
  GRAFT_INLINE const Own& own() const { return *static_cast<const Own*>(this); }
  GRAFT_INLINE Words halves(int64_t row, int64_t column) const { return narrowFloats(own().floats(row, column)); }
  GRAFT_INLINE Words pairs(int64_t row, int64_t column) const {
    return joinHalves(own().halves(row, column), own().halves(row, column + lanes));
  }
};

template <class T>
struct DenseReader : ReaderOf<DenseReader<T>> {
  const T* data;
  int64_t ld;

  GRAFT_INLINE DenseReader(const void* data, int64_t ld) : data(static_cast<const T*>(data)), ld(ld) {}
  GRAFT_INLINE const T* at(int64_t row, int64_t column) const { return data + row * ld + column; }
  GRAFT_INLINE Floats floats(int64_t row, int64_t column) const { return load(at(row, column)); }
  GRAFT_INLINE Floats floatsPart(int64_t row, int64_t column, int64_t count) const {
    return loadPart(at(row, column), count);
  }
  GRAFT_INLINE void ahead(int64_t row, int64_t column, int64_t count) const {
    constexpr int64_t line = 64 / sizeof(T);
    for (int64_t c = 0; c < count; c += line) prefetch(at(row, column + c));
  }
  GRAFT_INLINE Words halves(int64_t row, int64_t column) const {
    if constexpr (__is_same(T, BF16)) return loadHalves(at(row, column));
    return ReaderOf<DenseReader>::halves(row, column);
  }
  GRAFT_INLINE Words pairs(int64_t row, int64_t column) const {
    if constexpr (__is_same(T, BF16)) return loadWords(at(row, column));
    return ReaderOf<DenseReader>::pairs(row, column);
  }
};

/** One vector of elements from neighbours along the reduction. */
template <class Kind, class Reader>
GRAFT_INLINE Words readAlong(const Reader& reader, int64_t row, int64_t column) {
  if constexpr (Kind::perElement == 1) {
    return bitsAs<Words>(reader.floats(row, column));
  } else {
    return reader.pairs(row, column);
  }
}
/** The same from `count` values, zeros after them. */
template <class Kind, class Reader>
GRAFT_INLINE Words readAlongPart(const Reader& reader, int64_t row, int64_t column, int64_t count) {
  const Floats first = count >= lanes ? reader.floats(row, column) : reader.floatsPart(row, column, count);
  if constexpr (Kind::perElement == 1) {
    return bitsAs<Words>(first);
  } else {
    const Floats second = count > lanes ? reader.floatsPart(row, column + lanes, count - lanes) : Floats{};
    return joinHalves(narrowFloats(first), narrowFloats(second));
  }
}

/** Outputs side by side at one step of the reduction or, of Pairs, at two: `both`, or zeros. */
template <class Kind, class Reader>
GRAFT_INLINE Words readAcross(const Reader& reader, int64_t row, int64_t column, bool both) {
  if constexpr (Kind::perElement == 1) {
    return bitsAs<Words>(reader.floats(row, column));
  } else {
    const Words low = reader.halves(row, column);
    return both ? low | reader.halves(row + 1, column) << 16 : low;
  }
}
/** The same of `count` outputs, zeros after them. */
template <class Kind, class Reader>
GRAFT_INLINE Words readAcrossPart(const Reader& reader, int64_t row, int64_t column, int64_t count, bool both) {
  if (count >= lanes) return readAcross<Kind>(reader, row, column, both);
  if (count <= 0) return Words{};
  const Floats first = reader.floatsPart(row, column, count);
  if constexpr (Kind::perElement == 1) return bitsAs<Words>(first);
  const Words low = narrowFloats(first);
  return both ? low | narrowFloats(reader.floatsPart(row + 1, column, count)) << 16 : low;
}

/** b[v]: columns from `column` of one row or, of Pairs, of two: `both`, or zeros. */
template <class Kind, class Reader>
GRAFT_INLINE void readStrip(const Reader& reader, int64_t row, int64_t column, bool both, Words* b) {
#pragma GCC unroll 4
  for (int v = 0; v < tileVectors; v++) b[v] = readAcross<Kind>(reader, row, column + v * lanes, both);
}
#if defined(__AVX512BW__) && GRAFT_LANES == 16
/** Pairs of two rows of bf16, tileWidth columns each: a shuffle a vector. */
GRAFT_INLINE void interleave(__m512i first, __m512i second, Words* pairs) {
  alignas(64) static constexpr uint16_t order[64] = {
    0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47,
    16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  static_assert(tileWidth == 32);
  for (int v = 0; v < tileVectors; v++)
    pairs[v] = bitsAs<Words>(_mm512_permutex2var_epi16(first, bitsAs<__m512i>(loadWords(order + 32 * v)), second));
}
template <class Kind>
GRAFT_INLINE void readStrip(const DenseReader<BF16>& reader, int64_t row, int64_t column, bool both, Words* b) {
  if constexpr (Kind::perElement == 2) {
    interleave(bitsAs<__m512i>(loadWords(reader.at(row, column))), both ? bitsAs<__m512i>(loadWords(reader.at(row + 1, column))) : __m512i{}, b);
  } else {
    for (int v = 0; v < tileVectors; v++) b[v] = readAcross<Kind>(reader, row, column + v * lanes, both);
  }
}
#endif

GRAFT_INLINE void copyWords(void* to, const Words& from, int64_t count) {
  alignas(64) uint32_t words[lanes];
  storeWords(words, from);
  std::memcpy(to, words, static_cast<size_t>(count) * 4);
}

/**
 * One panel. `Width` is its width where that is known, else 0. The reader is taken by value, or each store might change it.
 * Outputs are rows [row0, row0 + outputs), outputs <= width, steps are columns [column0, column0 + k).
 */
template <class Kind, int Width, class Reader>
static void packPanelAlong(Reader reader, uint32_t* dst, int64_t anyWidth, int64_t row0, int64_t outputs,
                           int64_t column0, int64_t k) {
  const int64_t width = Width > 0 ? Width : anyWidth;
  constexpr int64_t step = Kind::perElement * lanes;
  const int64_t elements = ceilDiv(k, Kind::perElement), total = elements * width;
  // Groups of `lanes` outputs, the last first: where width is no multiple of lanes, its vectors reach into the next
  // element's first group, which is written after it.
  for (int64_t group = ceilDiv(width, lanes) - 1; group >= 0; group--) {
    const int64_t present = larger(0, smaller(lanes, outputs - group * lanes)), first = row0 + group * lanes;
    for (int64_t p = 0; p < elements; p += lanes) {
      const int64_t column = column0 + p * Kind::perElement, left = k - p * Kind::perElement;
      Words square[lanes];
      if (present == lanes && left >= step) {
#pragma GCC unroll 16
        for (int q = 0; q < lanes; q++) square[q] = readAlong<Kind>(reader, first + q, column);
      } else {
        for (int q = 0; q < lanes; q++)
          square[q] = q >= present   ? Words{}
                      : left >= step ? readAlong<Kind>(reader, first + q, column)
                                     : readAlongPart<Kind>(reader, first + q, column, left);
      }
      transpose(square);
      uint32_t* at = dst + p * width + group * lanes;
      if (at + (lanes - 1) * width + lanes <= dst + total) {
#pragma GCC unroll 16
        for (int q = 0; q < lanes; q++) storeWords(at + q * width, square[q]);
      } else {
        for (int64_t q = 0; q < smaller(lanes, elements - p); q++)
          copyWords(at + q * width, square[q], smaller(lanes, width - group * lanes));
      }
    }
  }
}

/** Panels whose outputs are rows [row0, row0 + outputs) and whose steps are columns [column0, column0 + k). */
template <class Kind, class Reader>
GRAFT_INLINE void packAlong(const Reader& reader, void* dst, int64_t width, int64_t row0, int64_t outputs,
                            int64_t column0, int64_t k) {
  const int64_t panel = ceilDiv(k, Kind::perElement) * width;
  const auto one = width == tileWidth ? packPanelAlong<Kind, tileWidth, Reader> : packPanelAlong<Kind, 0, Reader>;
  for (int64_t o = 0; o < outputs; o += width)
    one(reader, static_cast<uint32_t*>(dst) + o / width * panel, width, row0 + o, smaller(width, outputs - o), column0, k);
}

/** Panels whose outputs are columns [column0, column0 + outputs) and whose steps are rows [row0, row0 + k). */
template <class Kind, int Width, class Reader>
static void packPanelsAcross(Reader reader, void* dst, int64_t anyWidth, int64_t row0, int64_t k, int64_t column0,
                             int64_t outputs) {
  const int64_t width = Width > 0 ? Width : anyWidth;
  constexpr int64_t ahead = 8;
  const int64_t elements = ceilDiv(k, Kind::perElement);
  for (int64_t p = 0; p < elements; p++) {
    const int64_t row = row0 + p * Kind::perElement;
    const bool both = p * Kind::perElement + 1 < k;
    // A row's part is a few cache lines, far from the next row's: no hardware prefetcher follows.
    for (int s = 0; s < Kind::perElement; s++) reader.ahead(row + ahead * Kind::perElement + s, column0, outputs);
    for (int64_t first = 0; first < outputs; first += width) {
      uint32_t* at = static_cast<uint32_t*>(dst) + first * elements + p * width;
      // A vector that reaches past the panel's width spills into the next elements, written after it.
      if (first + multipleUp(width, lanes) <= outputs && p * width + multipleUp(width, lanes) <= elements * width) {
        if constexpr (Width == tileWidth) {
          Words strip[tileVectors];
          readStrip<Kind>(reader, row, column0 + first, both, strip);
#pragma GCC unroll 4
          for (int v = 0; v < tileVectors; v++) storeWords(at + v * lanes, strip[v]);
        } else {
          for (int64_t j = 0; j < width; j += lanes)
            storeWords(at + j, readAcross<Kind>(reader, row, column0 + first + j, both));
        }
      } else {
        for (int64_t j = 0; j < width; j += lanes)
          copyWords(at + j, readAcrossPart<Kind>(reader, row, column0 + first + j, outputs - first - j, both),
                    smaller(lanes, width - j));
      }
    }
  }
}

template <class Kind, class Reader>
GRAFT_INLINE void packAcross(const Reader& reader, void* dst, int64_t width, int64_t row0, int64_t k, int64_t column0,
                             int64_t outputs) {
  if (width == tileWidth) {
    packPanelsAcross<Kind, tileWidth>(reader, dst, width, row0, k, column0, outputs);
  } else {
    packPanelsAcross<Kind, 0>(reader, dst, width, row0, k, column0, outputs);
  }
}

/** A codec's fill: rows x columns of what the reader reads, as graft_panel_source's fill functions have it. */
template <class Kind, class Reader>
GRAFT_INLINE void packBlock(const Reader& reader, void* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                            int64_t cols, bool transposed) {
  if (transposed) {
    packAcross<Kind>(reader, dst, width, row0, rows, col0, cols);
  } else {
    packAlong<Kind>(reader, dst, width, row0, rows, col0, cols);
  }
}

/** use(reader) with the matrix's own reader. */
template <class Use>
GRAFT_INLINE void readMatrix(const Matrix& matrix, const Use& use) {
  if (matrix.dtype == DType::f32) {
    use(DenseReader<float>(matrix.data, matrix.ld));
  } else if (matrix.dtype == DType::bf16) {
    use(DenseReader<BF16>(matrix.data, matrix.ld));
  } else {
    use(DenseReader<F16>(matrix.data, matrix.ld));
  }
}

/** Panels of outputs [first, first + count) and steps [k0, k0 + k) of a dense matrix. */
template <class Kind>
static void pack(const Matrix& matrix, void* dst, int64_t width, int64_t first, int64_t count, int64_t k0, int64_t k) {
  readMatrix(matrix, [&](const auto& reader) {
    if (matrix.along) {
      packAlong<Kind>(reader, dst, width, first, count, k0, k);
    } else {
      packAcross<Kind>(reader, dst, width, k0, k, first, count);
    }
  });
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
