// Exponential, logarithm and sigmoid of a vector, one source for all instruction sets: within 2 units in the last place of
// the exact value, and exact at 0, ±infinity, NaN and overflow.
//
//   exp         all floats, gradual underflow included
//   softmaxExp  what a softmax needs, in fewer instructions: 0 below −87
//   softmaxExp2 the same of 2^x, in fewer still: scores are multiplied by something anyway, log2 e can be a part of it
//   log         natural logarithm
//   sigmoid     1 / (1 + e^−x)
//
// Coefficients: exp by a minimax fit of our own, log by Cephes (Moshier, logf).
#pragma once

#include <graft/simd.h>

namespace graft {
namespace GRAFT_ISA {

/**
 * e^r for r = x − n·ln 2 and the n nearest to x / ln 2, |x| below 2^8; returns e^r and sets n, whose upper bits are waste
 * (what shifts it into an exponent drops them). ln 2 is split, 0.693359375 having 9 bits, so that n times it is exact. The
 * polynomial for (e^r − 1 − r) / r² is the minimax of degree 4 (error 3e-9 of e^r).
 */
GRAFT_INLINE F32 expOfRemainder(F32 x, I32& n) {
  const F32 shift = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer, which lies in the low bits
  const F32 shifted = fma(x, splat(1.44269504088896341f), shift), whole = shifted - shift;
  n = bitsAs<I32>(shifted);
  const F32 r = fma(whole, splat(2.12194440e-4f), fma(whole, splat(-0.693359375f), x));
  F32 p = fma(splat(1.3814320e-3f), r, splat(8.3688507e-3f));
  p = fma(p, r, splat(4.1668400e-2f));
  p = fma(p, r, splat(1.6666520e-1f));
  p = fma(p, r, splat(4.9999994e-1f));
  return fma(p, r * r, r) + 1.0f;
}

/** e^x */
GRAFT_INLINE F32 exp(F32 x) {
  // Beyond these the result is 0 or infinity; NaN passes both comparisons.
  x = select(x > splat(89.0f), splat(89.0f), select(x < splat(-104.0f), splat(-104.0f), x));
  I32 n;
  const F32 p = expOfRemainder(x, n);
  n = n - 0x4b400000;
  // 2^n in two factors: n reaches from −150 (subnormal results) to 128 (overflow).
  const I32 half = n >> 1, rest = n - half;
  return p * bitsAs<F32>((half + 127) << 23) * bitsAs<F32>((rest + 127) << 23);
}

/** e^x for x ≤ 88, as a softmax needs it: 0 below −87 (where e^x < 2^-125.5), NaN for NaN. */
GRAFT_INLINE F32 softmaxExp(F32 x) {
  I32 n;
  const F32 p = expOfRemainder(x, n);
  return select(x < splat(-87.0f), splat(0.0f), p * bitsAs<F32>((bitsAs<U32>(n) << 23) + 0x3f800000u));
}

/**
 * 2^x for x ≤ 127, as a softmax needs it: 0 below −126 (with AVX-512 gradual underflow), NaN for NaN. The polynomials for
 * (2^r − 1) / r are minimax of degree 4, on [−½, ½] and [0, 1): error 9e-8 of 2^r, 1.7e-7 with roundings.
 */
GRAFT_INLINE F32 softmaxExp2(F32 x) {
#if defined(__AVX512DQ__) && GRAFT_LANES == 16
  const F32 r = _mm512_reduce_ps(x, 1);  // x − ⌊x⌋, 0 of −infinity
  F32 p = fma(splat(1.86711829e-3f), r, splat(9.01705492e-3f));
  p = fma(p, r, splat(5.57998940e-2f));
  p = fma(p, r, splat(2.40164459e-1f));
  p = fma(p, r, splat(6.93151295e-1f));
  return _mm512_scalef_ps(fma(p, r, splat(1)), x);
#else
  const F32 shift = splat(12582912.0f), shifted = x + shift, r = x - (shifted - shift);
  F32 p = fma(splat(1.32646994e-3f), r, splat(9.67150927e-3f));
  p = fma(p, r, splat(5.55073395e-2f));
  p = fma(p, r, splat(2.40222424e-1f));
  p = fma(p, r, splat(6.93147004e-1f));
  p = fma(p, r, splat(1));
  // The whole part is in the low bits of `shifted`; it is added to the exponent, and bits above it fall off.
  const F32 power = bitsAs<F32>(bitsAs<U32>(p) + (bitsAs<U32>(shifted) << 23));
  return select(x < splat(-126), splat(0), power);
#endif
}

/** Natural logarithm; −inf at 0, NaN below. Polynomial of Cephes' logf. */
GRAFT_INLINE F32 log(F32 x) {
  const auto subnormal = x < splat(0x1p-126f);
  const F32 scaled = select(subnormal, x * 0x1p23f, x);
  const U32 bits = bitsAs<U32>(scaled);
  // x = m · 2^e with m in [√½, √2)
  const I32 e = bitsAs<I32>(bits - 0x3f3504f3u) >> 23;
  const F32 m = bitsAs<F32>(bits - (bitsAs<U32>(e) << 23)), exponent = toFloat(e) - select(subnormal, splat(23.0f), splat(0.0f));
  const F32 f = m - 1.0f, square = f * f;
  F32 p = fma(splat(7.0376836292e-2f), f, splat(-1.1514610310e-1f));
  p = fma(p, f, splat(1.1676998740e-1f));
  p = fma(p, f, splat(-1.2420140846e-1f));
  p = fma(p, f, splat(1.4249322787e-1f));
  p = fma(p, f, splat(-1.6668057665e-1f));
  p = fma(p, f, splat(2.0000714765e-1f));
  p = fma(p, f, splat(-2.4999993993e-1f));
  p = fma(p, f, splat(3.3333331174e-1f));
  F32 y = fma(exponent, splat(-2.12194440e-4f), p * square * f);
  y = fma(splat(-0.5f), square, y);
  y = fma(exponent, splat(0.693359375f), f + y);
  const float infinity = __builtin_inff();
  y = select(x == splat(infinity), splat(infinity), y);
  y = select(x == splat(0.0f), splat(-infinity), y);
  return select(x < splat(0.0f), splat(__builtin_nanf("")), select(x != x, x, y));
}

/** 1 / (1 + e^−x); e^−87 below −87. */
GRAFT_INLINE F32 sigmoid(F32 x) {
  // Within these neither e^−x nor the quotient leaves the normal numbers. NaN passes both, as the second operand.
  const F32 power = maximum(splat(-87.0f), minimum(splat(87.0f), -x));
  I32 n;
  const F32 p = expOfRemainder(power, n);
  return reciprocal(fma(p, bitsAs<F32>((bitsAs<U32>(n) << 23) + 0x3f800000u), splat(1)));
}

}  // namespace GRAFT_ISA
}  // namespace graft
