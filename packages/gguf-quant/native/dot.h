// A few tokens by W, reading its blocks once: y[t, r] = x[t] . W[row0 + r]. A unit's values are made in registers and
// multiplied by every token's.
#pragma once

#include <graft/gemm_dot.h>

#include "decode.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** sums[t][0] + sums[t][1] += one row times each token. */
template <class Format, int Tokens>
GRAFT_INLINE void dotRow(const uint8_t* blocks, int64_t in, Floats (&sums)[Tokens][2], const float* x, int64_t xStride) {
  constexpr int units = Format::elements / unit;
#pragma GCC unroll 1
  for (int64_t c = 0; c < in; c += Format::elements, blocks += Format::bytes) {
    prefetch(blocks + 1024);
    const auto one = [&](int u) {
      Unit read;
      Format::read(blocks, u, read);
      Floats values[unit / lanes];
      valuesOf<Format::offsets>(read, values);
#pragma GCC unroll 8
      for (int v = 0; v < unit / lanes; v++)
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; t++)
          sums[t][v % 2] = fma(values[v], loadFloats(x + t * xStride + c + u * unit + v * lanes), sums[t][v % 2]);
    };
    // Shifts are constants where units are written out, which pays for one token only.
    if constexpr (Tokens == 1) {
#pragma GCC unroll 8
      for (int u = 0; u < units; u++) one(u);
    } else {
#pragma GCC unroll 1
      for (int u = 0; u < units; u++) one(u);
    }
  }
}

template <class Format, int Tokens>
static void dotRows(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t row0,
                    int64_t rows) {
  constexpr int64_t together = lanes;
  Floats waiting[together * Tokens];
  alignas(64) float totals[together * Tokens];
  for (int64_t first = 0; first < rows; first += together) {
    const int64_t some = smaller(together, rows - first);
    for (auto& sum : waiting) sum = Floats{};
    for (int64_t r = 0; r < some; r++) {
      Floats sums[Tokens][2] = {};
      dotRow<Format, Tokens>(rowOfBlocks<Format>(w, row0 + first + r), w->in, sums, x, xStride);
      for (int t = 0; t < Tokens; t++) waiting[r * Tokens + t] = sums[t][0] + sums[t][1];
    }
    for (int64_t i = 0; i < together * Tokens; i += lanes) store(totals + i, sumEach(waiting + i));
    for (int64_t r = 0; r < some; r++)
      for (int t = 0; t < Tokens; t++) y[t * yStride + first + r] = totals[r * Tokens + t];
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
