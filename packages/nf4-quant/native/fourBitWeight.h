// One 4-bit weight: W[e] = codebook[code[e]] * scale[e / block], e running through rows. Codes lie two to a byte, the earlier
// in the high nibble. A block's size follows from how many scales there are.
#pragma once

#include <graft/panel.h>
#include <graft/simd.h>

#include "codebook.h"

namespace graft {
namespace GRAFT_ISA {

struct FourBitWeight {
  const uint8_t* codes;
  const graft_operand* scaleStorage;
  const graft_scale_reader* reader;
  int64_t in;
  int shift;  // block = 1 << shift

  GRAFT_INLINE explicit FourBitWeight(const graft_weight* w)
      : codes(static_cast<const uint8_t*>(w->storage[0].data)), scaleStorage(w->storage + 1), reader(w->scales), in(w->in) {
    const int64_t elements = w->out * w->in, scales = reader->count(scaleStorage);
    shift = 5;
    while (shift < 12 && ceilDiv(elements, int64_t{1} << shift) != scales) shift++;
  }
  GRAFT_INLINE int code(int64_t e) const { return e % 2 == 0 ? codes[e >> 1] >> 4 : codes[e >> 1] & 15; }

  /** Blocks that `columns` columns of a row lie in, at most. */
  GRAFT_INLINE int64_t blocksAcross(int64_t columns) const { return ((columns + (int64_t{1} << shift) - 2) >> shift) + 1; }
};

/** The scales of some rows and columns of a weight: block b, counted from where the columns begin, of row r. */
struct BlockScales {
  const float* data;
  int64_t ofRow, ofBlock;

  GRAFT_INLINE const float* row(int64_t r) const { return data + r * ofRow; }
};
/** Reads them into `to`, which has room for rows * blocksAcross(columns). */
GRAFT_INLINE BlockScales scalesOf(const FourBitWeight& w, float* to, int64_t row0, int64_t rows, int64_t column0,
                                  int64_t columns) {
  if ((w.in >> w.shift) << w.shift == w.in) {  // whole blocks to a row: those of one place in all rows lie evenly apart
    const int64_t first = (row0 * w.in + column0) >> w.shift, last = (row0 * w.in + column0 + columns - 1) >> w.shift;
    for (int64_t b = 0; b <= last - first; b++)
      w.reader->read_f32(w.scaleStorage, to + b * rows, first + b, rows, w.in >> w.shift);
    return {to, 1, rows};
  }
  const int64_t most = w.blocksAcross(columns);
  for (int64_t r = 0; r < rows; r++) {
    const int64_t e = (row0 + r) * w.in + column0, first = e >> w.shift, last = (e + columns - 1) >> w.shift;
    w.reader->read_f32(w.scaleStorage, to + r * most, first, last - first + 1, 1);
  }
  return {to, most, 1};
}

}  // namespace GRAFT_ISA
}  // namespace graft
