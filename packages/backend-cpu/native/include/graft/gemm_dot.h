// Products with few rows: nothing is packed, and the long side is read once, at the speed of memory.
//
// `multiplyDot`: y[tokens, n] = x[tokens, k] . W[n, k]^T, both sides lying along k. Vectors run along k; a few rows of W and
// up to four tokens at a time keep their sums in registers. It also serves where W is the activation and x a low-rank factor.
// `multiplySpread`: y[tokens, n] = x[tokens, k] . W[k, n]. Vectors run along n: rows of W, scaled, are added up.
//
// Both sum several terms, as gemm.h does. A result does not depend on how many tokens or rows come with it: its chains of
// multiply-adds are cut by k alone.
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

/** Sums of `Rows` rows from `row` and `Tokens` tokens over steps [c0, c1); they start from `sums`. */
template <int Rows, int Tokens, class Reader>
GRAFT_INLINE void dotTile(const Reader& reader, Floats* sums, const float* x, int64_t xStride, int64_t row, int64_t c0,
                          int64_t c1) {
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
      const Floats values = reader.floats(row + r, c);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; t++) own[r][t] = fma(values, tokens[t], own[r][t]);
    }
  }
  if (c < c1) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Floats values = reader.floatsPart(row + r, c, c1 - c);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; t++) own[r][t] = fma(values, loadFloats(x + t * xStride + c), own[r][t]);
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

template <int Tokens, class Reader>
static void dotRows(Reader reader, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t row0,
                    int64_t rows, int64_t k) {
  constexpr int together = Tokens == 1 ? 8 : Tokens == 2 ? 4 : 3;
  Floats sums[multipleUp(dotRowsTogether * Tokens, lanes)] = {};
  alignas(64) float totals[multipleUp(dotRowsTogether * Tokens, lanes)];
  for (int64_t first = 0; first < rows; first += dotRowsTogether) {
    const int64_t some = smaller(dotRowsTogether, rows - first), row = row0 + first;
    for (int64_t i = 0; i < some * Tokens; i++) sums[i] = Floats{};
    for (int64_t c = 0; c < k; c += dotSteps) {
      const int64_t end = smaller(k, c + dotSteps);
      int64_t r = 0;
      for (; r + together <= some; r += together)
        dotTile<together, Tokens>(reader, sums + r * Tokens, x, xStride, row + r, c, end);
      for (; r < some; r++) dotTile<1, Tokens>(reader, sums + r * Tokens, x, xStride, row + r, c, end);
    }
    for (int64_t i = 0; i < some * Tokens; i += lanes) store(totals + i, sumEach(sums + i));
    for (int64_t r = 0; r < some; r++)
      for (int t = 0; t < Tokens; t++) y[t * yStride + first + r] = totals[r * Tokens + t];
  }
}

/** y[t, r] = x[t] . (row row0 + r) for 1 to 4 tokens; x padded with zeros. A codec's dot_f32 is this call. */
template <class Reader>
GRAFT_INLINE void dotBlock(const Reader& reader, float* y, int64_t yStride, const float* x, int64_t xStride,
                           int64_t tokens, int64_t row0, int64_t rows, int64_t k) {
  if (tokens == 1) dotRows<1>(reader, y, yStride, x, xStride, row0, rows, k);
  if (tokens == 2) dotRows<2>(reader, y, yStride, x, xStride, row0, rows, k);
  if (tokens == 3) dotRows<3>(reader, y, yStride, x, xStride, row0, rows, k);
  if (tokens == 4) dotRows<4>(reader, y, yStride, x, xStride, row0, rows, k);
}

/** dst[c] = (row, col0 + c). A codec's row_f32 is this call. */
template <class Reader>
GRAFT_INLINE void copyRow(const Reader& reader, float* dst, int64_t row, int64_t col0, int64_t cols) {
  int64_t c = 0;
  for (; c + lanes <= cols; c += lanes) store(dst + c, reader.floats(row, col0 + c));
  if (c < cols) storePart(dst + c, reader.floatsPart(row, col0 + c, cols - c), cols - c);
}

/** W for the dot path: dense, or a panel source's own dot, or its rows. */
struct DotSide {
  const Matrix* matrix;
  const WeightSide* weight;
};

/** x[tokens, k] . W, one term of the sum. */
struct DotTerm {
  int64_t k;
  Matrix x;
  DotSide w;
};

/** The tokens of a term: in f32, rows padded with zeros; and as a panel source wants them (panel.h), where it has wishes. */
struct Tokens {
  const float* padded;
  int64_t stride;
  const unsigned char* ready;
  int64_t readyBytes;
  int32_t rounded;
};

GRAFT_INLINE void dotSide(const DotSide& side, float* y, int64_t yStride, const float* x, int64_t xStride,
                          int64_t tokens, int64_t row0, int64_t rows, int64_t k, float* scratch) {
  if (side.matrix != nullptr) {
    readMatrix(*side.matrix, [&](const auto& reader) { dotBlock(reader, y, yStride, x, xStride, tokens, row0, rows, k); });
    return;
  }
  const WeightSide& w = *side.weight;
  if (GRAFT_SOURCE_HAS(w.source, dot_f32)) {
    w.source->dot_f32(&w.weight, y, yStride, x, xStride, tokens, row0, rows);
    return;
  }
  for (int64_t r = 0; r < rows; r++) {
    w.source->row_f32(&w.weight, scratch, row0 + r, 0, k);
    dotBlock(DenseReader<float>(scratch, k), y + r, yStride, x, xStride, tokens, 0, 1, k);
  }
}

/** Whether the scratch can hold the tokens of all terms, padded, and a row of W. */
GRAFT_INLINE bool dotFits(const Pool& pool, int64_t tokens, const DotTerm* terms, int count) {
  int64_t all = 0;
  for (int i = 0; i < count; i++) {
    const int64_t row = multipleUp(terms[i].k, dotPadding) * 4;
    if (row > static_cast<int64_t>(pool.scratchBytes)) return false;
    all += tokens * row;
  }
  return all <= static_cast<int64_t>(pool.sharedBytes);
}

/** Makes the tokens of each term in the shared scratch, one term behind the other; ready ones where there is room. */
GRAFT_INLINE void makeTokens(const Pool& pool, int64_t count, const DotTerm* terms, int termCount, bool wanted, Tokens* made) {
  auto* at = static_cast<unsigned char*>(pool.shared());
  int64_t left = static_cast<int64_t>(pool.sharedBytes);
  for (int i = 0; i < termCount; i++) {
    const auto& [k, x, w] = terms[i];
    const int64_t stride = multipleUp(k, dotPadding);
    float* padded = reinterpret_cast<float*>(at);
    for (int64_t t = 0; t < count; t++) {
      if (x.along) {
        readMatrix(x, [&](const auto& reader) { copyRow(reader, padded + t * stride, t, 0, terms[i].k); });
      } else {
        for (int64_t p = 0; p < k; p++) padded[t * stride + p] = elementOf(x, t, p);
      }
      std::memset(padded + t * stride + k, 0, static_cast<size_t>(stride - k) * 4);
    }
    made[i] = {padded, stride, nullptr, 0, x.dtype == DType::bf16};
    at += count * stride * 4, left -= count * stride * 4;
  }
  for (int i = 0; i < termCount && wanted; i++) {
    if (terms[i].w.weight == nullptr || !GRAFT_SOURCE_HAS(terms[i].w.weight->source, dot_ready)) continue;
    const WeightSide& w = *terms[i].w.weight;
    Tokens& own = made[i];
    const int64_t bytes = w.source->token_bytes(&w.weight, own.rounded);
    if (bytes == 0 || count * bytes > left) continue;
    for (int64_t t = 0; t < count; t++) w.source->ready_token(&w.weight, at + t * bytes, own.padded + t * own.stride, own.rounded);
    own.ready = at, own.readyBytes = bytes;
    at += multipleUp(count * bytes, 64), left -= multipleUp(count * bytes, 64);
  }
}

/** y[t, r] = the sum of one term for tokens [t0, t0 + tokens) and rows [row0, row0 + rows). */
GRAFT_INLINE void dotOfTerm(const DotTerm& term, const Tokens& x, float* y, int64_t t0, int64_t tokens, int64_t row0,
                            int64_t rows, float* scratch) {
  if (x.ready != nullptr) {
    term.w.weight->source->dot_ready(&term.w.weight->weight, y, dotRowsTogether, x.ready + t0 * x.readyBytes, x.readyBytes,
                                     tokens, row0, rows, x.rounded);
  } else {
    dotSide(term.w, y, dotRowsTogether, x.padded + t0 * x.stride, x.stride, tokens, row0, rows, term.k, scratch);
  }
}

/** finish(sum over terms of x[tokens, k] . W[n, k]^T) */
static inline void multiplyDot(const Pool& pool, int64_t tokens, int64_t n, const DotTerm* terms, int termCount,
                               const Finish& finish) {
  Tokens x[maxTerms];
  makeTokens(pool, tokens, terms, termCount, true, x);
  constexpr int64_t rowsOfTask = 2 * dotRowsTogether;
  pool.parallel(ceilDiv(n, rowsOfTask), [&](int64_t index, int worker) {
    alignas(64) float sums[dotTokens * dotRowsTogether], more[dotTokens * dotRowsTogether];
    float* scratch = static_cast<float*>(pool.scratch(worker));
    const int64_t end = smaller(n, (index + 1) * rowsOfTask);
    for (int64_t row = index * rowsOfTask; row < end; row += dotRowsTogether) {
      const int64_t rows = smaller(dotRowsTogether, end - row);
      for (int64_t t = 0; t < tokens; t += dotTokens) {
        const int64_t some = smaller(dotTokens, tokens - t);
        dotOfTerm(terms[0], x[0], sums, t, some, row, rows, scratch);
        for (int i = 1; i < termCount; i++) {
          dotOfTerm(terms[i], x[i], more, t, some, row, rows, scratch);
          for (int64_t s = 0; s < some; s++)
            for (int64_t r = 0; r < rows; r++) sums[s * dotRowsTogether + r] += more[s * dotRowsTogether + r];
        }
        finish.finish(finish.self, sums, dotRowsTogether, t, some, row, rows);
      }
    }
  });
}

/** Columns that one task sums at most, and the stride of its sums. */
constexpr int64_t spreadColumns = 1024;

/** sums[tokens][columns] += x[tokens, Steps] . rows [row, row + Steps) from `column0`; `columns` is a multiple of lanes. */
template <int Steps, class Reader>
GRAFT_INLINE void spreadRows(const Reader& reader, float* sums, const float* x, int64_t xStride, int64_t tokens,
                             int64_t row, int64_t column0, int64_t columns) {
  for (int64_t c = 0; c < columns; c += lanes) {
    Floats rows[Steps];
#pragma GCC unroll 8
    for (int s = 0; s < Steps; s++) rows[s] = reader.floats(row + s, column0 + c);
    for (int64_t t = 0; t < tokens; t++) {
      Floats own = loadFloats(sums + t * spreadColumns + c);
#pragma GCC unroll 8
      for (int s = 0; s < Steps; s++) own = fma(broadcast(x[t * xStride + s]), rows[s], own);
      store(sums + t * spreadColumns + c, own);
    }
  }
}

template <class Reader>
static void spreadBlock(Reader reader, float* sums, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
                        int64_t rows, int64_t column0, int64_t columns) {
  constexpr int steps = 8;
  const int64_t whole = columns / lanes * lanes;
  int64_t p = 0;
  for (; p + steps <= rows; p += steps)
    spreadRows<steps>(reader, sums, x + p, xStride, tokens, row0 + p, column0, whole);
  for (; p < rows; p++) spreadRows<1>(reader, sums, x + p, xStride, tokens, row0 + p, column0, whole);
  if (whole == columns) return;
  // Columns that fill no vector, in the same order.
  for (int64_t t = 0; t < tokens; t++) {
    Floats own = loadFloats(sums + t * spreadColumns + whole);
    for (p = 0; p < rows; p++)
      own = fma(broadcast(x[t * xStride + p]), reader.floatsPart(row0 + p, column0 + whole, columns - whole), own);
    store(sums + t * spreadColumns + whole, own);
  }
}

/** finish(sum over terms of x[tokens, k] . W[k, n]); a row of W may come from a panel source. */
static inline void multiplySpread(const Pool& pool, int64_t tokens, int64_t n, const DotTerm* terms, int termCount,
                                  const Finish& finish) {
  Tokens all[maxTerms];
  makeTokens(pool, tokens, terms, termCount, false, all);
  // Long parts of rows for the memory's sake, but something for every worker.
  const int64_t part = larger(128, smaller(spreadColumns, multipleUp(ceilDiv(n, pool.threads), 64)));
  pool.parallel(ceilDiv(n, part), [&](int64_t index, int worker) {
    float* sums = static_cast<float*>(pool.scratch(worker));
    float* rows = sums + tokens * spreadColumns;
    const int64_t column0 = index * part, columns = smaller(part, n - column0);
    std::memset(sums, 0, static_cast<size_t>(tokens * spreadColumns) * 4);
    for (int i = 0; i < termCount; i++) {
      const DotSide& w = terms[i].w;
      const int64_t k = terms[i].k, stride = all[i].stride;
      const float* padded = all[i].padded;
      if (w.matrix != nullptr) {
        readMatrix(*w.matrix, [&](const auto& reader) {
          spreadBlock(reader, sums, padded, stride, tokens, 0, k, column0, columns);
        });
        continue;
      }
      constexpr int64_t together = 8;
      for (int64_t p = 0; p < k; p += together) {
        const int64_t some = smaller(together, k - p);
        for (int64_t s = 0; s < some; s++)
          w.weight->source->row_f32(&w.weight->weight, rows + s * spreadColumns, p + s, column0, columns);
        spreadBlock(DenseReader<float>(rows, spreadColumns), sums, padded + p, stride, tokens, 0, some, 0, columns);
      }
    }
    finish.finish(finish.self, sums, spreadColumns, 0, tokens, column0, columns);
  });
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
