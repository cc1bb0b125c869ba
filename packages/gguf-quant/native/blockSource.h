// A panel source for a block format: W [out, in] lies in memory as in a GGUF, u8 [out, bytes of a row], and a row is
// in / elements blocks of value = scale * code + offset (unit.h).
#pragma once

#include <graft/gemm_ahead.h>

#include "dot.h"
#include "pack.h"

namespace graft {
namespace GRAFT_ISA {
namespace {

template <class Format, class T>
void row(const graft_weight* w, T* dst, int64_t row, int64_t col0, int64_t cols) {
  decodeRow<Format>(w, dst, row, col0, cols);
}

#if GRAFT_SCALAR
template <class Format>
constexpr graft_panel_source source{sizeof(graft_panel_source), 1,       row<Format, float>, nullptr, nullptr,
                                    nullptr,                    row<Format, uint16_t>, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
#else
template <class Format>
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  if (tokens == 1) dotRows<Format, 1>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 2) dotRows<Format, 2>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 3) dotRows<Format, 3>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 4) dotRows<Format, 4>(w, y, yStride, x, xStride, row0, rows);
}
template <class Format, class T>
void rows(const graft_weight* w, T* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  for (int64_t r = 0; r < rows; r++) decodeRow<Format>(w, dst + r * stride, row0 + r, col0, cols);
}
template <class Format>
int64_t lines(const graft_weight* w, const void** lines, int64_t room, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  const int64_t first = col0 / Format::elements, blocks = ceilDiv(col0 + cols, Format::elements) - first;
  return linesOfRows(lines, room, rowOfBlocks<Format>(w, row0) + first * Format::bytes, w->in / Format::elements * Format::bytes, rows,
                     blocks * Format::bytes);
}
template <class Format>
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    1,
                                    row<Format, float>,
                                    pack<Format, Singles>,
                                    multipliesPairs ? pack<Format, Pairs> : nullptr,
                                    dot<Format>,
                                    row<Format, uint16_t>,
                                    nullptr,  // tokens are not prepared: a row is decoded once for all of them
                                    nullptr,
                                    nullptr,
                                    lines<Format>,
                                    rows<Format, float>,
                                    multipliesPairs ? rows<Format, uint16_t> : nullptr};
#endif

}  // namespace
}  // namespace GRAFT_ISA
}  // namespace graft
