// Runs of a row of W, in f32 or bf16, from any column on. A row is a whole number of blocks: storage is u8 [out, row bytes].
#pragma once

#include "formats256.h"

namespace graft {
namespace GRAFT_ISA {

GRAFT_INLINE void put(float* to, float value) { *to = value; }
GRAFT_INLINE void put(uint16_t* to, float value) { narrow(value, reinterpret_cast<BF16*>(to)); }

template <class Format>
GRAFT_INLINE const uint8_t* rowOfBlocks(const graft_weight* w, int64_t row) {
  return static_cast<const uint8_t*>(w->storage[0].data) + row * (w->in / Format::elements * Format::bytes);
}

#if GRAFT_SCALAR
template <class Format, class T>
GRAFT_INLINE void decodeRow(const graft_weight* w, T* to, int64_t row, int64_t column, int64_t count) {
  const uint8_t* blocks = rowOfBlocks<Format>(w, row);
  for (int64_t i = 0; i < count; i++) {
    const int64_t c = column + i;
    put(to + i, Format::value(blocks + c / Format::elements * Format::bytes, static_cast<int>(c % Format::elements)));
  }
}
#else
GRAFT_INLINE void put(float* to, Floats value) { store(to, value); }
GRAFT_INLINE void put(uint16_t* to, Floats value) { store(reinterpret_cast<BF16*>(to), value); }

/** to[0, 32) = the unit that holds column `column` of a row, from its first column on. */
template <class Format, class T>
GRAFT_INLINE void decodeUnit(const uint8_t* blocks, T* to, int64_t column) {
  Unit read;
  Format::read(blocks + column / Format::elements * Format::bytes, static_cast<int>(column % Format::elements / unit), read);
  Floats values[unit / lanes];
  valuesOf<Format::offsets>(read, values);
#pragma GCC unroll 8
  for (int v = 0; v < unit / lanes; v++) put(to + v * lanes, values[v]);
}

/** to[i] = W[row, column + i] for i of [0, count). */
template <class Format, class T>
GRAFT_INLINE void decodeRow(const graft_weight* w, T* to, int64_t row, int64_t column, int64_t count) {
  const uint8_t* blocks = rowOfBlocks<Format>(w, row);
  const int64_t end = column + count;
  const auto part = [&](int64_t until) {
    T whole[unit];
    decodeUnit<Format>(blocks, whole, column);
    std::memcpy(to, whole + column % unit, static_cast<size_t>(until - column) * sizeof(T));
    to += until - column;
    column = until;
  };
  if (column % unit != 0) part(smaller(end, multipleUp(column, unit)));
  for (; column + unit <= end; column += unit, to += unit) decodeUnit<Format>(blocks, to, column);
  if (column < end) part(end);
}
#endif

}  // namespace GRAFT_ISA
}  // namespace graft
