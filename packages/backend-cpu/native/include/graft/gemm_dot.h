// Products with few rows: y[tokens, n] = x[tokens, k] . W[n, k]^T, both sides lying along k.
//
// W is read once, at the speed of memory, and nothing is packed: vectors run along k, a few rows of W and all tokens at a
// time keep their sums in registers. It also serves where W is the activation and x a low-rank factor.
// A result is the sum of its lanes' chains over all of k: it does not depend on how many tokens or rows come with it.
#pragma once

#include <graft/gemm.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Tokens that one reading of W serves. */
constexpr int64_t dotTokens = 4;
/** x is padded with zeros to a multiple of this. */
constexpr int64_t dotPadding = 64;

template <class Source, int Rows, int Tokens>
GRAFT_INLINE void dotTile(float* y, int64_t yStride, const float* x, int64_t xStride, const typename Source::Type* w,
                          int64_t ld, int64_t k) {
  Floats sums[Rows][Tokens];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++)
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) sums[r][t] = Floats{};
  int64_t c = 0;
#pragma GCC unroll 1
  for (; c + lanes <= k; c += lanes) {
    Floats tokens[Tokens];
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) tokens[t] = loadFloats(x + t * xStride + c);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Floats row = Source::floats(w + r * ld + c);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; t++) sums[r][t] = fma(row, tokens[t], sums[r][t]);
    }
  }
  if (c < k) {
    for (int r = 0; r < Rows; r++) {
      const Floats row = loadPart(w + r * ld + c, k - c);
      for (int t = 0; t < Tokens; t++) sums[r][t] = fma(row, loadFloats(x + t * xStride + c), sums[r][t]);
    }
  }
  for (int r = 0; r < Rows; r++)
    for (int t = 0; t < Tokens; t++) y[t * yStride + r] = sum(sums[r][t]);
}

template <class Source, int Tokens>
static void dotRows(float* y, int64_t yStride, const float* x, int64_t xStride, const typename Source::Type* w,
                    int64_t ld, int64_t rows, int64_t k) {
  constexpr int together = Tokens == 1 ? 8 : Tokens == 2 ? 4 : 3;
  int64_t r = 0;
  for (; r + together <= rows; r += together)
    dotTile<Source, together, Tokens>(y + r, yStride, x, xStride, w + r * ld, ld, k);
  for (; r < rows; r++) dotTile<Source, 1, Tokens>(y + r, yStride, x, xStride, w + r * ld, ld, k);
}

template <class Source>
GRAFT_INLINE void dotAs(float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, const void* w,
                        int64_t ld, int64_t rows, int64_t k) {
  const typename Source::Type* data = static_cast<const typename Source::Type*>(w);
  if (tokens == 1) dotRows<Source, 1>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 2) dotRows<Source, 2>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 3) dotRows<Source, 3>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 4) dotRows<Source, 4>(y, yStride, x, xStride, data, ld, rows, k);
}

/** dst[c] = W[row, col0 + c] */
template <class Source>
GRAFT_INLINE void copyRowAs(const void* data, int64_t at, float* dst, int64_t cols) {
  const typename Source::Type* from = static_cast<const typename Source::Type*>(data) + at;
  int64_t c = 0;
  for (; c + lanes <= cols; c += lanes) store(dst + c, Source::floats(from + c));
  for (; c < cols; c++) dst[c] = widen(from[c]);
}
static inline void copyRow(const Matrix& w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  const int64_t at = row * w.ld + col0;
  if (w.dtype == DType::f32) {
    std::memcpy(dst, static_cast<const float*>(w.data) + at, static_cast<size_t>(cols) * 4);
  } else if (w.dtype == DType::bf16) {
    copyRowAs<Read<BF16>>(w.data, at, dst, cols);
  } else {
    copyRowAs<Read<F16>>(w.data, at, dst, cols);
  }
}

/** y[t, r] = x[t] . W[r] for 1 to 4 tokens over dense rows; x padded with zeros. */
static inline void dotMatrix(float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
                             const Matrix& w, int64_t row0, int64_t rows, int64_t k) {
  const void* data = static_cast<const char*>(w.data) + row0 * w.ld * bytesOf(w.dtype);
  if (w.dtype == DType::f32) {
    dotAs<Read<float>>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
  } else if (w.dtype == DType::bf16) {
    dotAs<Read<BF16>>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
  } else {
    dotAs<Read<F16>>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
  }
}

/** W for the dot path: dense, or a panel source's own dot, or its rows. */
struct DotSide {
  const Matrix* matrix;
  const WeightSide* weight;
};

GRAFT_INLINE void dotSide(const DotSide& side, float* y, int64_t yStride, const float* x, int64_t xStride,
                          int64_t tokens, int64_t row0, int64_t rows, int64_t k, float* scratch) {
  if (side.matrix != nullptr) {
    dotMatrix(y, yStride, x, xStride, tokens, *side.matrix, row0, rows, k);
    return;
  }
  const WeightSide& w = *side.weight;
  if (GRAFT_SOURCE_HAS(w.source, dot_f32)) {
    w.source->dot_f32(&w.weight, y, yStride, x, xStride, tokens, row0, rows);
    return;
  }
  for (int64_t r = 0; r < rows; r++) {
    w.source->row_f32(&w.weight, scratch, row0 + r, 0, k);
    dotMatrix(y + r, yStride, x, xStride, tokens, Matrix{scratch, DType::f32, k, true}, 0, 1, k);
  }
}

/** Whether the dot path can hold x and a row of W in its scratch. */
GRAFT_INLINE bool dotFits(const Pool& pool, int64_t tokens, int64_t k) {
  const int64_t row = multipleUp(k, dotPadding) * 4;
  return tokens * row <= static_cast<int64_t>(pool.sharedBytes) && row <= static_cast<int64_t>(pool.scratchBytes) / 2;
}

/** finish(x[tokens, k] . W[n, k]^T); x is a matrix along k. */
static inline void multiplyDot(const Pool& pool, int64_t tokens, int64_t n, int64_t k, const Matrix& x,
                               const DotSide& w, const Finish& finish) {
  const int64_t stride = multipleUp(k, dotPadding);
  float* padded = static_cast<float*>(pool.shared());
  for (int64_t t = 0; t < tokens; t++) {
    pack<Singles>(x, padded + t * stride, 1, t, 1, 0, k);
    std::memset(padded + t * stride + k, 0, static_cast<size_t>(stride - k) * 4);
  }
  constexpr int64_t rowsOfTask = 48, rowsTogether = 24;
  pool.parallel(ceilDiv(n, rowsOfTask), [&](int64_t index, int worker) {
    alignas(64) float sums[dotTokens * rowsTogether];
    float* scratch = static_cast<float*>(pool.scratch(worker));
    const int64_t end = smaller(n, (index + 1) * rowsOfTask);
    for (int64_t row = index * rowsOfTask; row < end; row += rowsTogether) {
      const int64_t rows = smaller(rowsTogether, end - row);
      for (int64_t t = 0; t < tokens; t += dotTokens) {
        const int64_t some = smaller(dotTokens, tokens - t);
        dotSide(w, sums, rowsTogether, padded + t * stride, stride, some, row, rows, k, scratch);
        finish.finish(finish.self, sums, rowsTogether, t, some, row, rows);
      }
    }
  });
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
