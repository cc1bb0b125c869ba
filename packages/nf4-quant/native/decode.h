// Runs of consecutive elements of a 4-bit weight, in f32 or bf16, from any element on.
#pragma once

#include "expand.h"
#include "fourBitWeight.h"

namespace graft {
namespace GRAFT_ISA {

GRAFT_INLINE void put(float* to, float value) { *to = value; }
GRAFT_INLINE void put(uint16_t* to, float value) { narrow(value, reinterpret_cast<BF16*>(to)); }

#if GRAFT_SCALAR
template <const Codebook& book, class T>
struct Decoder {
  /** to[i] = W[first + i] for i of [0, count); `scales` are those of its blocks, `ofBlock` apart. */
  GRAFT_INLINE void operator()(const FourBitWeight& w, T* to, int64_t first, int64_t count, const float* scales,
                               int64_t ofBlock) const {
    for (int64_t i = 0, e = first; i < count; i++, e++)
      put(to + i, book.values[w.code(e)] * scales[((e >> w.shift) - (first >> w.shift)) * ofBlock]);
  }
};
#else

/** One block's values: in f32 from a table for all blocks, in bf16 from the block's own. */
struct ScaledFloats {
  FloatTable table;
  GRAFT_INLINE explicit ScaledFloats(const Codebook& book) : table(book) {}
  GRAFT_INLINE auto ofBlock(const Codebook&, float scale) const {
#if GRAFT_LANES == 16 && defined(__AVX512BW__)
    return [scaled = FloatTable(table, scale)](const uint8_t* bytes, float* to) {
      Floats values[unit / lanes];
      scaled.expand(bytes, values);
      for (int v = 0; v < unit / lanes; v++) store(to + v * lanes, values[v]);
    };
#else
    return [this, scale](const uint8_t* bytes, float* to) {
      Floats values[unit / lanes];
      table.expand(bytes, values);
#pragma GCC unroll 8
      for (int v = 0; v < unit / lanes; v++) store(to + v * lanes, values[v] * broadcast(scale));
    };
#endif
  }
};
struct ScaledHalves {
  GRAFT_INLINE explicit ScaledHalves(const Codebook&) {}
  GRAFT_INLINE auto ofBlock(const Codebook& book, float scale) const {
    return [table = HalfTable(book, scale)](const uint8_t* bytes, uint16_t* to) { table.expand(bytes, to); };
  }
};
template <class T>
struct ValuesIn {
  using Type = ScaledFloats;
};
template <>
struct ValuesIn<uint16_t> {
  using Type = ScaledHalves;
};

template <const Codebook& book, class T>
struct Decoder {
  typename ValuesIn<T>::Type values{book};

  /** to[i] = W[first + i] for i of [0, count); `scales` are those of its blocks, `ofBlock` apart. */
  GRAFT_INLINE void operator()(const FourBitWeight& w, T* to, int64_t first, int64_t count, const float* scales,
                               int64_t ofBlock) const {
    constexpr int64_t usual = 2 * unit;
    if (int64_t{1} << w.shift == usual && (first | count) % usual == 0) {  // the usual blocks, whole: no ends to look for
      const uint8_t* bytes = w.codes + first / 2;
      for (const T* end = to + count; to < end; to += usual, bytes += usual / 2, scales += ofBlock) {
        const auto expand = values.ofBlock(book, *scales);
        expand(bytes, to);
        expand(bytes + unit / 2, to + unit);
      }
      return;
    }
    const int64_t end = first + count;
    for (int64_t e = first; e < end; scales += ofBlock) {
      const int64_t stop = smaller(end, ((e >> w.shift) + 1) << w.shift);
      T* at = to + (e - first);
      if (e % 2 == 1) put(at++, book.values[w.code(e++)] * *scales);  // begins within a byte
      const auto expand = values.ofBlock(book, *scales);
      for (; e + unit <= stop; e += unit, at += unit) expand(w.codes + e / 2, at);
      if (e >= stop) continue;
      uint8_t rest[unit / 2] = {};  // fewer codes than a unit, and nothing is read past them
      std::memcpy(rest, w.codes + e / 2, static_cast<size_t>(stop - e + 1) / 2);
      T some[unit];
      expand(rest, some);
      std::memcpy(at, some, static_cast<size_t>(stop - e) * sizeof(T));
      e = stop;
    }
  }
};
#endif

/** to[i] = W[row, column + i] for i of [0, count). */
template <const Codebook& book, class T>
static void decodeRow(const FourBitWeight& w, T* to, int64_t row, int64_t column, int64_t count) {
  const Decoder<book, T> decode;
  constexpr int64_t columns = 2048;
  float scales[columns / 32 + 1];
  for (int64_t c = 0; c < count; c += columns) {
    const int64_t some = smaller(columns, count - c), e = row * w.in + column + c, first = e >> w.shift;
    w.reader->read_f32(w.scaleStorage, scales, first, ((e + some - 1) >> w.shift) - first + 1, 1);
    decode(w, to + c, e, some, scales, 1);
  }
}

#if !GRAFT_SCALAR
/** to[r * stride + i] = W[row0 + r, column + i] for r of [0, rows), i of [0, count). */
template <const Codebook& book, class T>
static void decodeRows(const FourBitWeight& w, T* to, int64_t stride, int64_t row0, int64_t rows, int64_t column, int64_t count) {
  const Decoder<book, T> decode;
  constexpr int64_t atOnce = 256;
  float scales[atOnce];
  const int64_t columns = atOnce / 2 << w.shift, room = larger(1, atOnce / w.blocksAcross(smaller(columns, count)));
  for (int64_t c = 0; c < count; c += columns)
    for (int64_t r = 0; r < rows; r += room) {
      const int64_t some = smaller(columns, count - c), together = smaller(room, rows - r);
      const BlockScales found = scalesOf(w, scales, row0 + r, together, column + c, some);
      for (int64_t q = 0; q < together; q++)
        decode(w, to + (r + q) * stride + c, (row0 + r + q) * w.in + column + c, some, found.row(q), found.ofBlock);
    }
}
#endif

}  // namespace GRAFT_ISA
}  // namespace graft
