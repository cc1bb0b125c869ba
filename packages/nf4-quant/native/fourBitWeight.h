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

  /** run(scale, e, end) for each part of [first, end) that shares a scale, in order. */
  template <class Run>
  GRAFT_INLINE void eachBlock(int64_t first, int64_t end, const Run& run) const {
    constexpr int64_t atOnce = 64;
    float scales[atOnce];
    for (int64_t e = first; e < end;) {
      const int64_t block = e >> shift, count = smaller(atOnce, ((end - 1) >> shift) - block + 1);
      reader->read_f32(scaleStorage, scales, block, count);
      for (int64_t b = 0; b < count; b++) {
        const int64_t stop = smaller(end, (block + b + 1) << shift);
        run(scales[b], e, stop);
        e = stop;
      }
    }
  }
};

}  // namespace GRAFT_ISA
}  // namespace graft
