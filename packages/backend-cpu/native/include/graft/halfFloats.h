// The storage formats of 16 bits, one element at a time: to f32, which is exact, and back, to nearest even; a NaN stays one.
#pragma once

#include <graft/kernel.h>

namespace graft {
namespace GRAFT_ISA {

/** Storage formats. bf16 is the upper half of a float; f16 is IEEE binary16. */
struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

/** The bits of one type read as another of the same size. */
template <class To, class From>
GRAFT_INLINE To bitsAs(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

GRAFT_INLINE float widen(float x) { return x; }
GRAFT_INLINE float widen(BF16 x) { return bitsAs<float>(static_cast<uint32_t>(x.bits) << 16); }
GRAFT_INLINE float widen(F16 x) {
  // Exponent and mantissa go to their place in an f32 whose exponent is 112 too small; a product puts that right, for
  // subnormals too. Infinities and NaN get the largest exponent.
  const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  uint32_t bits = bitsAs<uint32_t>(bitsAs<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000u) bits = magnitude | 0x7f800000u;
  return bitsAs<float>(bits | static_cast<uint32_t>(x.bits & 0x8000u) << 16);
}

GRAFT_INLINE void narrow(float x, float* to) { *to = x; }
GRAFT_INLINE void narrow(float x, BF16* to) {
  const uint32_t bits = bitsAs<uint32_t>(x);
  to->bits = static_cast<uint16_t>(x != x ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
GRAFT_INLINE void narrow(float x, F16* to) {
  const uint32_t bits = bitsAs<uint32_t>(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) half = 0x7e00u | (magnitude >> 13 & 0x3ffu);  // NaN
  else if (magnitude >= 0x477ff000u) half = 0x7c00u;  // 65520 and above round to infinity
  else if (magnitude >= 0x38800000u) half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  // A sum with 0.5 leaves the subnormal in the low bits, rounded to nearest even by the sum itself.
  else half = bitsAs<uint32_t>(bitsAs<float>(magnitude) + 0.5f) - 0x3f000000u;
  to->bits = static_cast<uint16_t>(sign | half);
}

}  // namespace GRAFT_ISA
}  // namespace graft
