// A few tokens by a 4-bit weight, reading its codes once: y[t, r] = x[t] . W[row0 + r]. Units of codes are expanded in
// registers, multiplied by x unscaled, and each unit's or two units' sum is scaled once.
#pragma once

#include <graft/gemm_dot.h>

#include "decode.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** Columns whose scales, or decoded values, wait together. */
constexpr int64_t dotColumns = 2048;

/** sums[Tokens] += one row's columns [column, end), whose units lie within blocks; `Units` share a scale. */
template <int Units, int Tokens>
GRAFT_INLINE void dotUnits(const FloatTable& table, const FourBitWeight& w, Floats* sums, const float* x, int64_t xStride,
                           int64_t row, int64_t column, int64_t end) {
  constexpr int64_t step = Units * unit;
  const int64_t e = row * w.in + column;
  const uint8_t* codes = w.codes + e / 2;
  float scales[dotColumns / unit + 1];
  const int64_t firstBlock = e >> w.shift;
  w.reader->read_f32(w.scaleStorage, scales, firstBlock, ((row * w.in + end - 1) >> w.shift) - firstBlock + 1, 1);
  const int64_t blockOffset = e - (firstBlock << w.shift);
  Floats own[Tokens];
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; t++) own[t] = sums[t];
  const int64_t length = end - column;
#pragma GCC unroll 1
  for (int64_t c = 0; c < length; c += step) {
    Floats parts[Tokens][2];
    prefetch(codes + c / 2 + 512);
#pragma GCC unroll 2
    for (int u = 0; u < Units; u++) {
      Floats values[unit / lanes];
      table.expand(codes + c / 2 + u * unit / 2, values);
#pragma GCC unroll 8
      for (int v = 0; v < unit / lanes; v++)
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; t++) {
          const Floats token = loadFloats(x + t * xStride + column + c + u * unit + v * lanes);
          parts[t][v % 2] = u == 0 && v < 2 ? values[v] * token : fma(values[v], token, parts[t][v % 2]);
        }
    }
    const Floats scale = broadcast(scales[(blockOffset + c) >> w.shift]);
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) own[t] = fma(scale, parts[t][0] + parts[t][1], own[t]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; t++) sums[t] = own[t];
}

/** The same of any columns, decoded first. */
template <const Codebook& book, int Tokens>
GRAFT_INLINE void dotDecoded(const FourBitWeight& w, Floats* sums, const float* x, int64_t xStride, int64_t row,
                             int64_t column, int64_t end) {
  alignas(64) float values[dotColumns + lanes];
  decodeRow<book>(w, values, row, column, end - column);
  for (int i = 0; i < lanes; i++) values[end - column + i] = 0;
  for (int64_t c = 0; c < end - column; c += lanes)
    for (int t = 0; t < Tokens; t++)
      sums[t] = fma(loadFloats(values + c), loadFloats(x + t * xStride + column + c), sums[t]);
}

template <const Codebook& book, int Tokens>
static void dotFourBits(const FourBitWeight& w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t row0,
                        int64_t rows) {
  const FloatTable table(book);
  constexpr int64_t together = lanes;
  Floats sums[multipleUp(together * Tokens, lanes)];
  alignas(64) float totals[multipleUp(together * Tokens, lanes)];
  for (int64_t first = 0; first < rows; first += together) {
    const int64_t some = smaller(together, rows - first);
    for (auto& sum : sums) sum = Floats{};
    for (int64_t r = 0; r < some; r++) {
      for (int64_t column = 0; column < w.in; column += dotColumns) {
        const int64_t row = row0 + first + r, end = smaller(w.in, column + dotColumns);
        if (w.in % (2 * unit) == 0 && w.shift >= 6) {
          dotUnits<2, Tokens>(table, w, sums + r * Tokens, x, xStride, row, column, end);
        } else if (w.in % unit == 0) {
          dotUnits<1, Tokens>(table, w, sums + r * Tokens, x, xStride, row, column, end);
        } else {
          dotDecoded<book, Tokens>(w, sums + r * Tokens, x, xStride, row, column, end);
        }
      }
    }
    for (int64_t i = 0; i < some * Tokens; i += lanes) store(totals + i, sumEach(sums + i));
    for (int64_t r = 0; r < some; r++)
      for (int t = 0; t < Tokens; t++) y[t * yStride + first + r] = totals[r * Tokens + t];
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
