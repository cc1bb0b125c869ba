// Which cache lines a product needs next, asked for tile by tile while the block before is multiplied.
//
// The lines of a block of B lie too far apart for the hardware's prefetchers, and reading them when the block is packed leaves
// memory idle while tiles multiply and the multipliers idle while it reads: at 64 rows that is a third of the time.
#pragma once

#include <graft/gemm_tile.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Lines of a block at most; those of a larger one are not all asked for. */
constexpr int64_t linesAtMost = 2048;

/** `lines` of `rows` rows of `bytes` bytes that lie `stride` apart, as far as there is room; how many. */
GRAFT_INLINE int64_t linesOfRows(const void** lines, int64_t room, const void* first, int64_t stride, int64_t rows, int64_t bytes) {
  const int64_t ofRow = ceilDiv(bytes, 64), count = smaller(rows, room / larger(1, ofRow));
  for (int64_t r = 0; r < count; r++)
    for (int64_t l = 0; l < ofRow; l++) lines[r * ofRow + l] = static_cast<const char*>(first) + r * stride + l * 64;
  return count * ofRow;
}
/** Those of rows x columns of a dense matrix as it is stored. */
GRAFT_INLINE int64_t linesOfDense(const void** lines, int64_t room, const void* data, DType dtype, int64_t ld, int64_t row0,
                                  int64_t rows, int64_t column0, int64_t columns) {
  const auto size = static_cast<int64_t>(bytesOf(dtype));
  return linesOfRows(lines, room, static_cast<const char*>(data) + (row0 * ld + column0) * size, ld * size, rows, columns * size);
}

/** A list of lines and the tiles that ask for them. */
class Lookout {
 public:
  /** `list(lines, room)` writes the lines that the next `tiles` tiles ask for, and returns how many. */
  template <class List>
  GRAFT_INLINE void over(int64_t tiles, const List& list) {
    if constexpr (asksAhead) {
      tiles_ = tiles;
      left_ = list(lines_, linesAtMost);
      next_ = lines_;
    }
  }
  /** The next tile's. */
  GRAFT_INLINE const Ahead& share() {
    if constexpr (asksAhead) {
      const int64_t count = left_ / larger(1, tiles_--);
      share_ = {count > 0 ? next_ : &own_, count};
      next_ += count;
      left_ -= count;
    }
    return share_;
  }

 private:
  const void* own_ = this;  // what a tile without lines asks for: near by, where an address of nothing would be looked up
  const void* lines_[asksAhead ? linesAtMost : 1];
  const void* const* next_ = lines_;
  Ahead share_{&own_, 0};
  int64_t tiles_ = 0, left_ = 0;
};

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
