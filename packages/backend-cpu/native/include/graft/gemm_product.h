// The two products that kernels ask for, matrix by matrix and matrix by weight, and which path each shape takes.
#pragma once

#include <graft/gemm_dot.h>
#include <graft/gemm_few.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Up to so many rows of x take the dot path when both sides lie along k ... */
constexpr int64_t dotRowsAtMost = 8;
/** ... and up to so many columns with the sides' roles exchanged: W is then the activation. More of them are narrow products. */
constexpr int64_t dotColumnsAtMost = turnedAtMost > 0 ? 4 : 8;
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
  const DotTerm byRows{k, a, {&b, nullptr}}, byColumns{k, b, {&a, nullptr}};
  if (a.along && b.along && k >= dotReductionAtLeast) {
    if (m <= dotRowsAtMost && dotFits(pool, m, &byRows, 1)) {
      multiplyDot(pool, m, n, &byRows, 1, finishOf(out));
      return;
    }
    if (n <= dotColumnsAtMost && dotFits(pool, n, &byColumns, 1)) {
      multiplyDot(pool, n, m, &byColumns, 1, finishOf(flipped));
      return;
    }
  }
  if (m <= spreadRowsAtMost && !b.along && dotFits(pool, m, &byRows, 1)) {
    multiplySpread(pool, m, n, &byRows, 1, finishOf(out));
    return;
  }
  if (n <= spreadRowsAtMost && !a.along && dotFits(pool, n, &byColumns, 1)) {
    multiplySpread(pool, n, m, &byColumns, 1, finishOf(flipped));
    return;
  }
  const bool flip = n <= flipColumnsAtMost && n < m;
  const auto run = [&]<class Kind>(Kind) {
    const Filler rows = fillerOf<Kind>(a), columns = fillerOf<Kind>(b);
    if (isNarrow(pool, m, n, k, a, b)) {
      multiplyNarrow<Kind>(pool, m < n ? Narrow{out, false, n, m, k, b, a} : Narrow{out, true, m, n, k, a, b});
    } else if (flip) {
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

/**
 * out (+)= scale * sum over terms of x[m, k] . W^T, or . W when `side.transposed`; all terms alike in that. The first is the
 * long one and decides the path; bf16 instructions where every x is bf16.
 */
static inline void multiplyWeights(const Pool& pool, const Output& out, int64_t m, const WeightTerm* terms, int termCount) {
  const WeightSide& first = terms[0].side;
  const int64_t n = first.outputs();
  DotTerm few[maxTerms];
  bool allBF16 = true;
  for (int i = 0; i < termCount; i++) {
    few[i] = {terms[i].side.steps(), terms[i].x, {nullptr, &terms[i].side}};
    allBF16 = allBF16 && terms[i].x.dtype == DType::bf16;
  }
  if (!first.transposed && m <= dotRowsAtMost && first.steps() >= dotReductionAtLeast && dotFits(pool, m, few, termCount)) {
    multiplyDot(pool, m, n, few, termCount, finishOf(out));
    return;
  }
  if (first.transposed && m <= spreadRowsAtMost && dotFits(pool, m, few, termCount)) {
    multiplySpread(pool, m, n, few, termCount, finishOf(out));
    return;
  }
  const auto run = [&]<class Kind>(Kind) {
    Term sum[maxTerms];
    for (int i = 0; i < termCount; i++)
      sum[i] = {terms[i].side.steps(), fillerOf<Kind>(terms[i].x), fillerOf<Kind>(terms[i].side)};
    if constexpr (asksAhead) {  // else the rows of W are waited for
      if (isFew<Kind>(pool, m, n, sum, termCount, first)) {
        multiplyFew<Kind>(pool, out, m, n, sum, termCount);
        return;
      }
    }
    multiply<Kind>(pool, m, n, sum, termCount, finishOf(out));
  };
  if constexpr (multipliesPairs) {
    if (allBF16) {
      run(Pairs{});
      return;
    }
  }
  run(Singles{});
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
