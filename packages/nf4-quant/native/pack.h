// A block of a 4-bit weight as panels (graft/panel.h), decoded while it is packed.
#pragma once

#include <graft/gemm_pack.h>

#include "decode.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** Bytes of decoded rows that are packed at once. */
constexpr int64_t decodedBytes = 8 << 10;
/** Scales that wait together. */
constexpr int64_t scalesAtOnce = 1024;
/** Rows ahead of which codes are fetched where rows lie far apart. */
constexpr int64_t rowsAhead = 8;

/** What a panel of Singles or Pairs is packed from. */
template <class Kind>
struct Decoded {
  using Element = float;
  using Stored = float;
};
template <>
struct Decoded<Pairs> {
  using Element = uint16_t;
  using Stored = BF16;
};

GRAFT_INLINE void fetchRow(const FourBitWeight& w, int64_t row, int64_t column, int64_t count) {
  const uint8_t* codes = w.codes + (row * w.in + column) / 2;
  for (int64_t b = 0; b < count / 2; b += 64) prefetch(codes + b);
}

/** Outputs are rows: a panel's rows at a time, as many columns as there is room for. */
template <const Codebook& book, class Kind>
GRAFT_INLINE void packRows(const FourBitWeight& w, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows,
                           int64_t col0, int64_t cols) {
  using Element = typename Decoded<Kind>::Element;
  constexpr int64_t capacity = decodedBytes / static_cast<int64_t>(sizeof(Element));
  alignas(64) Element decoded[capacity];
  float scales[scalesAtOnce];
  const Decoder<book, Element> decode;
  constexpr int64_t step = 2 * lanes;  // panels up to 64 wide have room for it
  const int64_t elements = ceilDiv(cols, Kind::perElement), room = capacity / width / step * step;
  for (int64_t o = 0; o < rows; o += width) {
    const int64_t outputs = smaller(width, rows - o);
    for (int64_t c = 0; c < cols; c += room) {
      const int64_t count = smaller(room, cols - c);
      const BlockScales found = scalesOf(w, scales, row0 + o, outputs, col0 + c, count);
      for (int64_t r = 0; r < outputs; r++)
        decode(w, decoded + r * room, (row0 + o + r) * w.in + col0 + c, count, found.row(r), found.ofBlock);
      packAlong<Kind>(DenseReader<typename Decoded<Kind>::Stored>(decoded, room),
                      dst + o * elements + c / Kind::perElement * width, width, 0, outputs, 0, count);
    }
  }
}

/** Outputs are columns: some rows at a time, of all panels as far as there is room. */
template <const Codebook& book, class Kind>
GRAFT_INLINE void packColumns(const FourBitWeight& w, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows,
                              int64_t col0, int64_t cols) {
  using Element = typename Decoded<Kind>::Element;
  constexpr int64_t capacity = decodedBytes / static_cast<int64_t>(sizeof(Element));
  alignas(64) Element decoded[capacity];
  float scales[scalesAtOnce];
  const Decoder<book, Element> decode;
  const int64_t elements = ceilDiv(rows, Kind::perElement);
  const int64_t wide = smaller(multipleUp(cols, width), larger(width, capacity / 16 / width * width));
  const int64_t room = larger(2, smaller(capacity / wide, scalesAtOnce / w.blocksAcross(wide)) / 2 * 2);
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t columns = smaller(wide, cols - c);
    for (int64_t p = 0; p < rows; p += room) {
      const int64_t steps = smaller(room, rows - p);
      const BlockScales found = scalesOf(w, scales, row0 + p, steps, col0 + c, columns);
      for (int64_t r = 0; r < steps; r++) {
        const int64_t row = row0 + p + r;
        fetchRow(w, row + rowsAhead, col0 + c, columns);
        decode(w, decoded + r * wide, row * w.in + col0 + c, columns, found.row(r), found.ofBlock);
      }
      for (int64_t o = 0; o < columns; o += width)
        packAcross<Kind>(DenseReader<typename Decoded<Kind>::Stored>(decoded + o, wide),
                         dst + (c + o) * elements + p / Kind::perElement * width, width, 0, steps, 0,
                         smaller(width, columns - o));
    }
  }
}

/** Whether units of codes begin and end with blocks and panels: then they are expanded straight into panels. */
GRAFT_INLINE bool unitsFit(const FourBitWeight& w, int64_t width, int64_t col0, int64_t cols) {
  return (w.in | col0 | cols) % unit == 0 && unit % width == 0 && width % lanes == 0;
}
/** The same of Singles where units fit. */
template <const Codebook& book>
GRAFT_INLINE void packColumnUnits(const FourBitWeight& w, float* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                                  int64_t cols) {
  float scales[scalesAtOnce];
  const FloatTable table(book);
  const int64_t wide = smaller(cols, 8 * unit), room = scalesAtOnce / w.blocksAcross(wide);
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t columns = smaller(wide, cols - c);
    for (int64_t p = 0; p < rows; p += room) {
      const int64_t steps = smaller(room, rows - p);
      const BlockScales found = scalesOf(w, scales, row0 + p, steps, col0 + c, columns);
      for (int64_t r = 0; r < steps; r++) {
        const int64_t e = (row0 + p + r) * w.in + col0 + c;
        const float* scaleOf = found.row(r);
        fetchRow(w, row0 + p + r + rowsAhead, col0 + c, columns);
        for (int64_t u = 0; u < columns; u += unit) {
          const Floats scale = broadcast(scaleOf[(((e + u) >> w.shift) - (e >> w.shift)) * found.ofBlock]);
          Floats values[unit / lanes];
          table.expand(w.codes + (e + u) / 2, values);
#pragma GCC unroll 8
          for (int v = 0; v < unit / lanes; v++) {
            const int64_t column = c + u + v * lanes, within = column & (width - 1);
            store(dst + (column - within) * rows + (p + r) * width + within, values[v] * scale);
          }
        }
      }
    }
  }
}

#if GRAFT_LANES == 16 && defined(__AVX512BW__)
/** The same of Pairs where blocks of 64 lie whole in rows and panels: two rows' values interleaved in registers. */
template <const Codebook& book>
GRAFT_INLINE void packColumnBlocks(const FourBitWeight& w, uint32_t* dst, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  constexpr int64_t block = 2 * unit;
  float scales[scalesAtOnce];
  const int64_t wide = smaller(cols, 4 * block), room = scalesAtOnce / w.blocksAcross(wide) / 2 * 2;
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t columns = smaller(wide, cols - c);
    for (int64_t p = 0; p < rows; p += room) {
      const int64_t steps = smaller(room, rows - p);
      const BlockScales found = scalesOf(w, scales, row0 + p, steps, col0 + c, columns);
      for (int64_t r = 0; r < steps; r += 2) {
        const uint8_t* codes = w.codes + ((row0 + p + r) * w.in + col0 + c) / 2;
        const float *scale = found.row(r), *scaleBelow = found.row(r + 1);
        fetchRow(w, row0 + p + r + rowsAhead, col0 + c, columns);
        fetchRow(w, row0 + p + r + rowsAhead + 1, col0 + c, columns);
        for (int64_t b = 0; b < columns; b += block, codes += block / 2, scale += found.ofBlock, scaleBelow += found.ofBlock) {
          const HalfTable table(book, *scale), below(book, *scaleBelow);
          uint32_t* to = dst + (c + b) * (rows / 2) + (p + r) / 2 * tileWidth;
          for (int u = 0; u < 2; u++, to += rows / 2 * tileWidth) {
            Words pairs[tileVectors];
            interleave(table.look(codes + u * unit / 2), below.look(codes + w.in / 2 + u * unit / 2), pairs);
            for (int v = 0; v < tileVectors; v++) storeWords(to + v * lanes, pairs[v]);
          }
        }
      }
    }
  }
}
#endif

template <const Codebook& book, class Kind>
static void pack(const graft_weight* weight, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows,
                 int64_t col0, int64_t cols, int32_t transposed) {
  const FourBitWeight w(weight);
  if (transposed == 0) {
    packRows<book, Kind>(w, dst, width, row0, rows, col0, cols);
    return;
  }
  if constexpr (Kind::perElement == 1) {
    if (unitsFit(w, width, col0, cols)) {
      packColumnUnits<book>(w, dst, width, row0, rows, col0, cols);
      return;
    }
  }
#if GRAFT_LANES == 16 && defined(__AVX512BW__)
  if constexpr (Kind::perElement == 2) {
    if (width == tileWidth && w.shift == 6 && (w.in | col0 | cols) % 64 == 0 && rows % 2 == 0) {
      packColumnBlocks<book>(w, dst, row0, rows, col0, cols);
      return;
    }
  }
#endif
  packColumns<book, Kind>(w, dst, width, row0, rows, col0, cols);
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
