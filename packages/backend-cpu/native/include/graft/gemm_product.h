// The two products that kernels ask for, matrix by matrix and matrix by weight, and which path each shape takes.
#pragma once

#include <graft/gemm_dot.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Up to so many rows of x take the dot path when both sides lie along k ... */
constexpr int64_t dotRowsAtMost = 8;
/** ... and up to so many columns with the sides' roles exchanged: W is then the activation. */
constexpr int64_t dotColumnsAtMost = 16;
/** A reduction too short for the dot path's horizontal sums. */
constexpr int64_t dotReductionAtLeast = 128;
/** Up to so many rows, or columns, are spread over rows of the other side where that lies across k. */
constexpr int64_t spreadRowsAtMost = 4;
/** Products this narrow, and higher than wide, are computed as out^T: the long side is streamed, the short one packed. */
constexpr int64_t flipColumnsAtMost = 256;

/** out (+)= scale * A[m, k] . B[k, n]; bf16 instructions where A is bf16 and the machine has them, else f32. */
static inline void multiplyMatrices(const Pool& pool, const Output& out, int64_t m, int64_t n, int64_t k, const Matrix& a,
                             const Matrix& b) {
  Output flipped = out;
  flipped.flipped = true;
  if (a.along && b.along && k >= dotReductionAtLeast) {
    if (m <= dotRowsAtMost && dotFits(pool, m, k)) {
      multiplyDot(pool, m, n, k, a, {&b, nullptr}, finishOf(out));
      return;
    }
    if (n <= dotColumnsAtMost && dotFits(pool, n, k)) {
      multiplyDot(pool, n, m, k, b, {&a, nullptr}, finishOf(flipped));
      return;
    }
  }
  if (m <= spreadRowsAtMost && !b.along && dotFits(pool, m, k)) {
    multiplySpread(pool, m, n, k, a, {&b, nullptr}, finishOf(out));
    return;
  }
  if (n <= spreadRowsAtMost && !a.along && dotFits(pool, n, k)) {
    multiplySpread(pool, n, m, k, b, {&a, nullptr}, finishOf(flipped));
    return;
  }
  const bool flip = n <= flipColumnsAtMost && n < m;
  const auto run = [&]<class Kind>(Kind) {
    const Filler rows = fillerOf<Kind>(a), columns = fillerOf<Kind>(b);
    if (flip) {
      const Term term{k, columns, rows};
      multiply<Kind>(pool, n, m, &term, 1, finishOf(flipped));
    } else {
      const Term term{k, rows, columns};
      multiply<Kind>(pool, m, n, &term, 1, finishOf(out));
    }
  };
  if constexpr (multipliesPairs) {
    if (a.dtype == DType::bf16) {
      run(Pairs{});
      return;
    }
  }
  run(Singles{});
}

/** out (+)= scale * x[m, k] . W^T, or . W when `side.transposed`; x lies along k. */
static inline void multiplyWeight(const Pool& pool, const Output& out, int64_t m, const Matrix& x, const WeightSide& side) {
  const int64_t n = side.transposed ? side.weight.in : side.weight.out;
  const int64_t k = side.transposed ? side.weight.out : side.weight.in;
  if (!side.transposed && m <= dotRowsAtMost && k >= dotReductionAtLeast && dotFits(pool, m, k)) {
    multiplyDot(pool, m, n, k, x, {nullptr, &side}, finishOf(out));
    return;
  }
  if (side.transposed && m <= spreadRowsAtMost && dotFits(pool, m, k)) {
    multiplySpread(pool, m, n, k, x, {nullptr, &side}, finishOf(out));
    return;
  }
  if constexpr (multipliesPairs) {
    if (x.dtype == DType::bf16) {
      const Term term{k, fillerOf<Pairs>(x), fillerOf<Pairs>(side)};
      multiply<Pairs>(pool, m, n, &term, 1, finishOf(out));
      return;
    }
  }
  const Term term{k, fillerOf<Singles>(x), fillerOf<Singles>(side)};
  multiply<Singles>(pool, m, n, &term, 1, finishOf(out));
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
