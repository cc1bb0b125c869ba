// Runs of consecutive elements of a 4-bit weight, in f32 or bf16, from any element on.
#pragma once

#include "expand.h"
#include "fourBitWeight.h"

namespace graft {
namespace GRAFT_ISA {

GRAFT_INLINE void put(float* to, float value) { *to = value; }
GRAFT_INLINE void put(uint16_t* to, float value) { narrow(value, reinterpret_cast<BF16*>(to)); }

#if !GRAFT_SCALAR
/** One block's elements as they are wanted: tables, made once for all blocks or for each. */
struct ToFloats {
  FloatTable table;
  GRAFT_INLINE explicit ToFloats(const Codebook& book) : table(book) {}
  GRAFT_INLINE auto ofBlock(const Codebook&, float scale) const {
    return [this, scale](const uint8_t* bytes, float* to) {
      Floats values[unit / lanes];
      table.expand(bytes, values);
#pragma GCC unroll 8
      for (int v = 0; v < unit / lanes; v++) store(to + v * lanes, values[v] * broadcast(scale));
    };
  }
};
struct ToHalves {
  GRAFT_INLINE explicit ToHalves(const Codebook&) {}
  GRAFT_INLINE auto ofBlock(const Codebook& book, float scale) const {
    return [table = HalfTable(book, scale)](const uint8_t* bytes, uint16_t* to) { table.expand(bytes, to); };
  }
};
template <class T>
struct Wanted;
template <>
struct Wanted<float> {
  using Tables = ToFloats;
};
template <>
struct Wanted<uint16_t> {
  using Tables = ToHalves;
};
#endif

/** to[i] = W[first + i] for i of [0, count). */
template <const Codebook& book, class T>
static void decode(const FourBitWeight& w, T* to, int64_t first, int64_t count) {
#if !GRAFT_SCALAR
  const typename Wanted<T>::Tables tables(book);
#endif
  w.eachBlock(first, first + count, [&](float scale, int64_t e, int64_t end) {
    T* at = to + (e - first);
    const auto one = [&] { put(at++, book.values[w.code(e++)] * scale); };
#if GRAFT_SCALAR
    while (e < end) one();
#else
    if (e % 2 == 1) one();  // a run that begins within a byte
    const auto expand = tables.ofBlock(book, scale);
    for (; e + unit <= end; e += unit, at += unit) expand(w.codes + e / 2, at);
    if (e == end) return;
    uint8_t rest[unit / 2] = {};  // fewer codes than a unit, and nothing is read past them
    std::memcpy(rest, w.codes + e / 2, static_cast<size_t>(end - e + 1) / 2);
    T values[unit];
    expand(rest, values);
    std::memcpy(at, values, static_cast<size_t>(end - e) * sizeof(T));
#endif
  });
}

}  // namespace GRAFT_ISA
}  // namespace graft
