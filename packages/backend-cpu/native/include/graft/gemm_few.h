// Few tokens by a weight that is read along its rows: y[t, o] = sum over terms and p of x[t, p] . W[o, p].
//
// x is packed once for all workers, and vectors run along the tokens; elements of W are broadcast from its rows, decoded a tile
// of them at a time. So nothing of W is transposed: for 64 tokens its panels take a quarter as long to transpose as to multiply.
//
// Slices of k, and the order within and over them, are those of gemm.h: a result has the same bits by either way.
#pragma once

#include <graft/gemm_narrow.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Up to so many tokens. */
constexpr int64_t fewTokensAtMost = 64;

/** Whether tokens are few, the source gives rows in the kind's elements, and x, packed, fits the scratch. */
template <class Kind>
GRAFT_INLINE bool isFew(const Pool& pool, int64_t m, int64_t n, const Term* terms, int termCount, const WeightSide& first) {
  const bool givesRows = Kind::perElement == 1 ? GRAFT_SOURCE_HAS(first.source, rows_f32) : GRAFT_SOURCE_HAS(first.source, rows_bf16);
  int64_t k = 0;
  for (int t = 0; t < termCount; t++) k += terms[t].k + lanes;
  return !first.transposed && givesRows && m > 0 && m <= fewTokensAtMost && n >= longAtLeast && first.steps() > 0 &&
         paddedWidth(m) * k * 4 + slackBytes <= static_cast<int64_t>(pool.sharedBytes);
}

template <class Kind>
static inline void multiplyFew(const Pool& pool, const Output& out, int64_t m, int64_t n, const Term* terms, int termCount) {
  using Element = typename Kind::Element;
  const Slices<Kind> slices = slicesOf<Kind>(terms, termCount);
  const int64_t ld = paddedWidth(m);
  Element* const packed = static_cast<Element*>(pool.shared());
  pool.parallel(slices.count(), [&](int64_t s, int worker) {
    Element* to = packed;
    for (int64_t before = 0; before < s; before++) to += slices[before].elements * ld;
    const auto slice = slices[s];
    slice.term->a.fill(slice.term->a.self, to, ld, 0, m, slice.k0, slice.k, pool.scratch(worker));
  });

  const int64_t vectors = vectorsOf(m), rows = narrowRows(static_cast<int>(vectors)), tasks = ceilDiv(n, narrowRowsOfTask);
  pool.parallel(tasks, [&](int64_t index, int worker) {
    constexpr int64_t stride = Kind::slice / Kind::perElement + 64 / Kind::perElement;
    alignas(64) float sums[narrowRowsOfTask * paddedAtMost];
    alignas(64) Element decoded[narrowRowsAtMost * stride];
    Lookout lookout;
    const int64_t from = index * narrowRowsOfTask, to = smaller(n, from + narrowRowsOfTask);
    // A last tile begins early enough to be whole: some rows are computed twice.
    const int64_t whole = (to - from) / rows, left = (to - from) % rows, count = whole + (left > 0 ? 1 : 0);
    const auto firstOf = [&](int64_t t) { return smaller(from + t * rows, to - rows); };
    const Element* x = packed;
    for (int64_t s = 0; s < slices.count(); s++) {
      const auto slice = slices[s];
      const Filler& b = slice.term->b;
      for (int64_t t = 0; t < count; t++) {
        b.rows(b.self, decoded, stride, firstOf(t), rows, slice.k0, slice.k, pool.scratch(worker));
        lookout.over(ld / (vectors * lanes), [&](const void** lines, int64_t room) -> int64_t {
          // The next tile's rows; after a task's last, those of the task that likely follows.
          const bool nextSlice = t + 1 == count, done = nextSlice && s + 1 == slices.count();
          const auto next = slices[done ? 0 : nextSlice ? s + 1 : s];
          const int64_t row = done ? to : firstOf(nextSlice ? 0 : t + 1);
          return row + rows > n ? 0 : next.term->b.list(next.term->b.self, lines, room, row, rows, next.k0, next.k);
        });
        for (int64_t v = 0; v < ld; v += vectors * lanes)
          runTileAlong<Kind>(vectors, slice.elements, reinterpret_cast<const char*>(decoded), stride * 4,
                             AskLines(lookout.share(), slice.elements), x + v, ld, sums + t * rows * ld + v, s > 0);
      }
      x += slice.elements * ld;
    }
    finishNarrow(out, true, sums, ld, from, whole * rows, 0, m);
    finishNarrow(out, true, sums + (count * rows - left) * ld, ld, to - left, left, 0, m);
  });
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
