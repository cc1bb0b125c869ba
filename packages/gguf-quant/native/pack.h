// A block of W as panels (graft/panel.h): rows are decoded into the first-level cache and packed from there.
#pragma once

#include <graft/gemm_pack.h>

#include "decode.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** Bytes of decoded rows that are packed at once. */
constexpr int64_t decodedBytes = 16 << 10;
/** Rows ahead of which blocks are fetched where rows lie far apart. */
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

template <class Format>
GRAFT_INLINE void fetchRow(const graft_weight* w, int64_t row, int64_t column, int64_t count) {
  const uint8_t* blocks = rowOfBlocks<Format>(w, row);
  const int64_t from = column / Format::elements * Format::bytes, to = (column + count) / Format::elements * Format::bytes;
  for (int64_t b = from; b <= to; b += 64) prefetch(blocks + b);
}

template <class Format, class Kind>
static void pack(const graft_weight* w, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                 int64_t cols, int32_t transposed) {
  using Element = typename Decoded<Kind>::Element;
  using Stored = typename Decoded<Kind>::Stored;
  constexpr int64_t capacity = decodedBytes / static_cast<int64_t>(sizeof(Element));
  alignas(64) Element decoded[capacity];
  if (transposed == 0) {
    // Outputs are rows: a panel's rows at a time, as many columns as there is room for.
    const int64_t elements = ceilDiv(cols, Kind::perElement), room = larger(2 * unit, capacity / width / (2 * unit) * (2 * unit));
    for (int64_t o = 0; o < rows; o += width) {
      const int64_t outputs = smaller(width, rows - o);
      for (int64_t c = 0; c < cols; c += room) {
        const int64_t count = smaller(room, cols - c);
        for (int64_t r = 0; r < outputs; r++) decodeRow<Format>(w, decoded + r * room, row0 + o + r, col0 + c, count);
        packAlong<Kind>(DenseReader<Stored>(decoded, room), dst + o * elements + c / Kind::perElement * width, width, 0,
                        outputs, 0, count);
      }
    }
    return;
  }
  // Outputs are columns: some rows at a time, of all panels as far as there is room.
  const int64_t elements = ceilDiv(rows, Kind::perElement);
  const int64_t wide = smaller(multipleUp(cols, width), larger(width, capacity / 16 / width * width));
  const int64_t room = larger(2, capacity / wide / 2 * 2);
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t columns = smaller(wide, cols - c);
    for (int64_t p = 0; p < rows; p += room) {
      const int64_t steps = smaller(room, rows - p);
      for (int64_t r = 0; r < steps; r++) {
        const int64_t row = row0 + p + r;
        fetchRow<Format>(w, row + rowsAhead, col0 + c, columns);
        decodeRow<Format>(w, decoded + r * wide, row, col0 + c, columns);
      }
      for (int64_t o = 0; o < columns; o += width)
        packAcross<Kind>(DenseReader<Stored>(decoded + o, wide), dst + (c + o) * elements + p / Kind::perElement * width,
                         width, 0, steps, 0, smaller(width, columns - o));
    }
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
