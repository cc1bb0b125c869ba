// Hyperbolic tangent of a vector, within 2 units in the last place: for soft caps c · tanh(x / c) and tanh-GELU.
//
//   |x| < 0.625   x + x³ · P(x²), P of degree 4 (Cephes' tanhf, Moshier)
//   else          ±(1 − 2 / (e^2|x| + 1)); ±1 from 9.1 on, NaN for NaN
#pragma once

#include <graft/exponential.h>

namespace graft {
namespace GRAFT_ISA {

GRAFT_INLINE F32 tanh(F32 x) {
  const F32 size = select(x < splat(0), -x, x), capped = select(size > splat(10.0f), splat(10.0f), size);
  const F32 far = 1.0f - 2.0f / (softmaxExp(capped + capped) + 1.0f), square = x * x;
  F32 p = fma(splat(-5.70498872745e-3f), square, splat(2.06390887954e-2f));
  p = fma(p, square, splat(-5.37397155531e-2f));
  p = fma(p, square, splat(1.33314422036e-1f));
  p = fma(p, square, splat(-3.33332819422e-1f));
  const F32 near = fma(p * square, x, x);
  return select(size < splat(0.625f), near, select(x < splat(0), -far, far));
}

}  // namespace GRAFT_ISA
}  // namespace graft
