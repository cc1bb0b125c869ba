// Products with few rows: nothing is packed, and the long side is read once, at the speed of memory.
//
// `multiplyDot`: y[tokens, n] = x[tokens, k] . W[n, k]^T, both sides lying along k. Vectors run along k; a few rows of W and
// up to four tokens at a time keep their sums in registers. It also serves where W is the activation and x a low-rank factor.
// `multiplySpread`: y[tokens, n] = x[tokens, k] . W[k, n]. Vectors run along n: rows of W, scaled, are added up.
//
// A result does not depend on how many tokens or rows come with it: its chains of multiply-adds are cut by k alone.
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

/** Steps of k after which another group of rows takes its turn, so that x stays in the first-level cache. */
constexpr int64_t dotSteps = 4096;
/** Rows whose sums wait while others take theirs. */
constexpr int64_t dotRowsTogether = 24;

/** Sums of `Rows` rows and `Tokens` tokens over [c0, c1), a multiple of lanes or up to k; they start from `sums`. */
template <class T, int Rows, int Tokens>
GRAFT_INLINE void dotTile(Floats* sums, const float* x, int64_t xStride, const T* w, int64_t ld,
                          int64_t c0, int64_t c1) {
  Floats own[Rows][Tokens];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++)
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) own[r][t] = sums[r * Tokens + t];
  int64_t c = c0;
#pragma GCC unroll 1
  for (; c + lanes <= c1; c += lanes) {
    Floats tokens[Tokens];
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) tokens[t] = loadFloats(x + t * xStride + c);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Floats row = load(w + r * ld + c);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; t++) own[r][t] = fma(row, tokens[t], own[r][t]);
    }
  }
  if (c < c1) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Floats row = loadPart(w + r * ld + c, c1 - c);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; t++) own[r][t] = fma(row, loadFloats(x + t * xStride + c), own[r][t]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++)
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) sums[r * Tokens + t] = own[r][t];
}

/** The sums over the lanes of each of `lanes` vectors, added by halves as sum() does. */
GRAFT_INLINE Floats sumEach(const Floats* v) {
  Words square[lanes];
#pragma GCC unroll 16
  for (int q = 0; q < lanes; q++) square[q] = bitsAs<Words>(v[q]);
  transpose(square);
  Floats parts[lanes];
#pragma GCC unroll 16
  for (int q = 0; q < lanes; q++) parts[q] = bitsAs<Floats>(square[q]);
#pragma GCC unroll 4
  for (int half = lanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int q = 0; q < half; q++) parts[q] += parts[q + half];
  return parts[0];
}

template <class T, int Tokens>
static void dotRows(float* y, int64_t yStride, const float* x, int64_t xStride, const T* w,
                    int64_t ld, int64_t rows, int64_t k) {
  constexpr int together = Tokens == 1 ? 8 : Tokens == 2 ? 4 : 3;
  Floats sums[multipleUp(dotRowsTogether * Tokens, lanes)] = {};
  for (int64_t row0 = 0; row0 < rows; row0 += dotRowsTogether) {
    const int64_t some = smaller(dotRowsTogether, rows - row0);
    for (int64_t i = 0; i < some * Tokens; i++) sums[i] = Floats{};
    for (int64_t c = 0; c < k; c += dotSteps) {
      const int64_t end = smaller(k, c + dotSteps);
      int64_t r = 0;
      for (; r + together <= some; r += together)
        dotTile<T, together, Tokens>(sums + r * Tokens, x, xStride, w + (row0 + r) * ld, ld, c, end);
      for (; r < some; r++) dotTile<T, 1, Tokens>(sums + r * Tokens, x, xStride, w + (row0 + r) * ld, ld, c, end);
    }
    alignas(64) float totals[multipleUp(dotRowsTogether * Tokens, lanes)];
    for (int64_t i = 0; i < some * Tokens; i += lanes) store(totals + i, sumEach(sums + i));
    for (int64_t r = 0; r < some; r++)
      for (int t = 0; t < Tokens; t++) y[t * yStride + row0 + r] = totals[r * Tokens + t];
  }
}

template <class T>
GRAFT_INLINE void dotAs(float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, const void* w,
                        int64_t ld, int64_t rows, int64_t k) {
  const T* data = static_cast<const T*>(w);
  if (tokens == 1) dotRows<T, 1>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 2) dotRows<T, 2>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 3) dotRows<T, 3>(y, yStride, x, xStride, data, ld, rows, k);
  if (tokens == 4) dotRows<T, 4>(y, yStride, x, xStride, data, ld, rows, k);
}

/** dst[c] = W[row, col0 + c] */
template <class T>
GRAFT_INLINE void copyRowAs(const void* data, int64_t at, float* dst, int64_t cols) {
  const T* from = static_cast<const T*>(data) + at;
  int64_t c = 0;
  for (; c + lanes <= cols; c += lanes) store(dst + c, load(from + c));
  for (; c < cols; c++) dst[c] = widen(from[c]);
}
static inline void copyRow(const Matrix& w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  const int64_t at = row * w.ld + col0;
  if (w.dtype == DType::f32) {
    std::memcpy(dst, static_cast<const float*>(w.data) + at, static_cast<size_t>(cols) * 4);
  } else if (w.dtype == DType::bf16) {
    copyRowAs<BF16>(w.data, at, dst, cols);
  } else {
    copyRowAs<F16>(w.data, at, dst, cols);
  }
}

/** y[t, r] = x[t] . W[r] for 1 to 4 tokens over dense rows; x padded with zeros. */
static inline void dotMatrix(float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
                             const Matrix& w, int64_t row0, int64_t rows, int64_t k) {
  const void* data = static_cast<const char*>(w.data) + row0 * w.ld * bytesOf(w.dtype);
  if (w.dtype == DType::f32) {
    dotAs<float>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
  } else if (w.dtype == DType::bf16) {
    dotAs<BF16>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
  } else {
    dotAs<F16>(y, yStride, x, xStride, tokens, data, w.ld, rows, k);
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

/** Whether the scratch can hold x padded, and a row of W. */
GRAFT_INLINE bool dotFits(const Pool& pool, int64_t tokens, int64_t k) {
  const int64_t row = multipleUp(k, dotPadding) * 4;
  return tokens * row <= static_cast<int64_t>(pool.sharedBytes) && row <= static_cast<int64_t>(pool.scratchBytes);
}

/** x[tokens, k] in f32, rows padded with zeros, in the shared scratch; returns the stride. */
GRAFT_INLINE int64_t widenTokens(const Pool& pool, const Matrix& x, int64_t tokens, int64_t k) {
  const int64_t stride = multipleUp(k, dotPadding);
  float* padded = static_cast<float*>(pool.shared());
  for (int64_t t = 0; t < tokens; t++) {
    if (x.along) {
      copyRow(x, padded + t * stride, t, 0, k);
    } else {
      for (int64_t p = 0; p < k; p++) padded[t * stride + p] = elementOf(x, t, p);
    }
    std::memset(padded + t * stride + k, 0, static_cast<size_t>(stride - k) * 4);
  }
  return stride;
}

/** finish(x[tokens, k] . W[n, k]^T) */
static inline void multiplyDot(const Pool& pool, int64_t tokens, int64_t n, int64_t k, const Matrix& x,
                               const DotSide& w, const Finish& finish) {
  const int64_t stride = widenTokens(pool, x, tokens, k);
  const float* padded = static_cast<const float*>(pool.shared());
  constexpr int64_t rowsOfTask = 2 * dotRowsTogether;
  pool.parallel(ceilDiv(n, rowsOfTask), [&](int64_t index, int worker) {
    alignas(64) float sums[dotTokens * dotRowsTogether];
    float* scratch = static_cast<float*>(pool.scratch(worker));
    const int64_t end = smaller(n, (index + 1) * rowsOfTask);
    for (int64_t row = index * rowsOfTask; row < end; row += dotRowsTogether) {
      const int64_t rows = smaller(dotRowsTogether, end - row);
      for (int64_t t = 0; t < tokens; t += dotTokens) {
        const int64_t some = smaller(dotTokens, tokens - t);
        dotSide(w, sums, dotRowsTogether, padded + t * stride, stride, some, row, rows, k, scratch);
        finish.finish(finish.self, sums, dotRowsTogether, t, some, row, rows);
      }
    }
  });
}

/** sums[tokens][columns] += x[tokens, p0 .. p0 + Steps) . rows, `columns` a multiple of lanes. */
template <class T, int Steps>
GRAFT_INLINE void spreadRows(float* sums, int64_t sumsStride, const float* x, int64_t xStride, int64_t tokens,
                             const T* rows, int64_t ld, int64_t columns) {
  for (int64_t c = 0; c < columns; c += lanes) {
    Floats row[Steps];
#pragma GCC unroll 8
    for (int s = 0; s < Steps; s++) row[s] = load(rows + s * ld + c);
    for (int64_t t = 0; t < tokens; t++) {
      Floats own = loadFloats(sums + t * sumsStride + c);
#pragma GCC unroll 8
      for (int s = 0; s < Steps; s++) own = fma(broadcast(x[t * xStride + s]), row[s], own);
      store(sums + t * sumsStride + c, own);
    }
  }
}

constexpr int64_t spreadColumns = 512;

template <class T>
GRAFT_INLINE void spreadAs(float* sums, const float* x, int64_t xStride, int64_t tokens, const void* data, int64_t ld,
                           int64_t column0, int64_t columns, int64_t k) {
  constexpr int steps = 8;
  const T* w = static_cast<const T*>(data) + column0;
  const int64_t whole = columns / lanes * lanes;
  int64_t p = 0;
  for (; p + steps <= k; p += steps)
    spreadRows<T, steps>(sums, spreadColumns, x + p, xStride, tokens, w + p * ld, ld, whole);
  for (; p < k; p++) spreadRows<T, 1>(sums, spreadColumns, x + p, xStride, tokens, w + p * ld, ld, whole);
  // Columns that fill no vector, one by one, in the same order.
  for (int64_t c = whole; c < columns; c++)
    for (int64_t t = 0; t < tokens; t++) {
      float own = 0;
      for (p = 0; p < k; p++) own = __builtin_fmaf(x[t * xStride + p], widen(w[p * ld + c]), own);
      sums[t * spreadColumns + c] = own;
    }
}

/** finish(x[tokens, k] . W[k, n]); a row of W may come from a panel source. */
static inline void multiplySpread(const Pool& pool, int64_t tokens, int64_t n, int64_t k, const Matrix& x,
                                  const DotSide& w, const Finish& finish) {
  const int64_t stride = widenTokens(pool, x, tokens, k);
  const float* padded = static_cast<const float*>(pool.shared());
  pool.parallel(ceilDiv(n, spreadColumns), [&](int64_t index, int worker) {
    float* sums = static_cast<float*>(pool.scratch(worker));
    float* rows = sums + tokens * spreadColumns;
    const int64_t column0 = index * spreadColumns, columns = smaller(spreadColumns, n - column0);
    std::memset(sums, 0, static_cast<size_t>(tokens * spreadColumns) * 4);
    if (w.matrix == nullptr) {
      constexpr int64_t together = 8;
      for (int64_t p = 0; p < k; p += together) {
        const int64_t some = smaller(together, k - p), whole = multipleUp(columns, lanes);
        for (int64_t s = 0; s < some; s++) {
          w.weight->source->row_f32(&w.weight->weight, rows + s * spreadColumns, p + s, column0, columns);
          for (int64_t c = columns; c < whole; c++) rows[s * spreadColumns + c] = 0;
        }
        if (some == together) {
          spreadRows<float, together>(sums, spreadColumns, padded + p, stride, tokens, rows, spreadColumns, whole);
        } else {
          for (int64_t s = 0; s < some; s++)
            spreadRows<float, 1>(sums, spreadColumns, padded + p + s, stride, tokens, rows + s * spreadColumns, spreadColumns, whole);
        }
      }
    } else if (w.matrix->dtype == DType::f32) {
      spreadAs<float>(sums, padded, stride, tokens, w.matrix->data, w.matrix->ld, column0, columns, k);
    } else if (w.matrix->dtype == DType::bf16) {
      spreadAs<BF16>(sums, padded, stride, tokens, w.matrix->data, w.matrix->ld, column0, columns, k);
    } else {
      spreadAs<F16>(sums, padded, stride, tokens, w.matrix->data, w.matrix->ld, column0, columns, k);
    }
    finish.finish(finish.self, sums, spreadColumns, 0, tokens, column0, columns);
  });
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
