// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// A frozen weight as a linear operator, for any codec that has a panel source. W is [out, in].
//   apply            y[yRow + t] (+)= x[xRow + t] . W^T
//   applyTransposed  dx[yRow + t] (+)= dy[xRow + t] . W
//   applyWithTail            y[yRow + t] (+)= x[xRow + t] . W^T + scale * h[t] . B^T     B [out, rank]
//   applyTransposedWithTail  dx[yRow + t] (+)= dy[xRow + t] . W + scale * h[t] . A       A [rank, in]
// h is [rows, rank] from row hRow on or, when hTransposed, rows [hRow, hRow + rank) of a matrix [.., rows]. A low-rank tail
// is a term of the same sum, so that y is written once; its factor is read as a weight is.
//   dequantizeRows   out[r] = W[firstRow + r]
//   gatherRows       out[r] = W[ids[r]]
//   rowNormsSquared  out[o] = sum over i of W[o, i]^2, in double

#include <graft/gemm_product.h>

namespace graft {
namespace GRAFT_ISA {

namespace {

using namespace panels;

/** A row is read in pieces of this many columns. */
constexpr int64_t pieceColumns = 4096;
#if GRAFT_SCALAR
/** Rows of x whose sums wait together. */
constexpr int64_t scalarRows = 1024;
#endif

GRAFT_INLINE graft_weight weightOf(const Call& call, int storage) {
  static_assert(sizeof(graft_operand) == sizeof(Operand) && offsetof(graft_operand, shape) == offsetof(Operand, shape));
  return {static_cast<int64_t>(call.params[0]), static_cast<int64_t>(call.params[1]),
          reinterpret_cast<const graft_operand*>(call.operands + storage), call.count - storage, call.scales};
}

// A low-rank factor as a panel source: a dense matrix, and one number that scales it.
GRAFT_INLINE Matrix factorOf(const graft_weight* w) {
  return {w->storage[0].data, static_cast<DType>(w->storage[0].dtype), w->in, true};
}
GRAFT_INLINE float scaleOf(const graft_weight* w) { return *static_cast<const float*>(w->storage[1].data); }

void scaledRow(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
#if GRAFT_SCALAR
  for (int64_t c = 0; c < cols; c++) dst[c] = elementOf(factorOf(w), row, col0 + c);
#else
  readMatrix(factorOf(w), [&](const auto& reader) { copyRow(reader, dst, row, col0, cols); });
#endif
  for (int64_t c = 0; c < cols; c++) dst[c] *= scaleOf(w);
}
#if GRAFT_SCALAR
constexpr decltype(graft_panel_source::dot_f32) scaledDot = nullptr;
#else
void scaledDot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
               int64_t row0, int64_t rows) {
  readMatrix(factorOf(w), [&](const auto& reader) { dotBlock(reader, y, yStride, x, xStride, tokens, row0, rows, w->in); });
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t r = 0; r < rows; r++) y[t * yStride + r] *= scaleOf(w);
}
#endif
constexpr graft_panel_source scaledFactor{sizeof(graft_panel_source), 2, scaledRow, nullptr, nullptr, scaledDot, nullptr,
                                          nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};

#if GRAFT_SCALAR
/** The formula: a block of W's columns or rows at a time, each element a sum over all terms in double. */
void multiplyWeights(const Pool& pool, const Output& y, int64_t rows, const WeightTerm* terms, int count) {
  const bool transposed = terms[0].side.transposed;
  const int64_t n = terms[0].side.outputs();
  if (!transposed) {
    pool.parallel(n, [&](int64_t o, int worker) {
      double* sums = static_cast<double*>(pool.scratch(worker));
      float* piece = reinterpret_cast<float*>(sums + scalarRows);
      for (int64_t t0 = 0; t0 < rows; t0 += scalarRows) {
        const int64_t some = smaller(scalarRows, rows - t0);
        for (int64_t t = 0; t < some; t++) sums[t] = 0;
        for (int term = 0; term < count; term++) {
          const auto& [x, side] = terms[term];
          for (int64_t i0 = 0; i0 < side.steps(); i0 += pieceColumns) {
            const int64_t columns = smaller(pieceColumns, side.steps() - i0);
            side.source->row_f32(&side.weight, piece, o, i0, columns);
            for (int64_t t = 0; t < some; t++)
              for (int64_t i = 0; i < columns; i++) sums[t] += double{elementOf(x, t0 + t, i0 + i)} * double{piece[i]};
          }
        }
        for (int64_t t = 0; t < some; t++) writeElement(y, t0 + t, o, sums[t]);
      }
    });
  } else {
    constexpr int64_t columnsOfTask = 64, together = 128;
    pool.parallel(ceilDiv(n, columnsOfTask), [&](int64_t index, int worker) {
      double* sums = static_cast<double*>(pool.scratch(worker));
      float piece[columnsOfTask];
      const int64_t i0 = index * columnsOfTask, columns = smaller(columnsOfTask, n - i0);
      for (int64_t t0 = 0; t0 < rows; t0 += together) {
        const int64_t some = smaller(together, rows - t0);
        for (int64_t s = 0; s < some * columns; s++) sums[s] = 0;
        for (int term = 0; term < count; term++) {
          const auto& [x, side] = terms[term];
          for (int64_t o = 0; o < side.steps(); o++) {
            side.source->row_f32(&side.weight, piece, o, i0, columns);
            for (int64_t t = 0; t < some; t++)
              for (int64_t i = 0; i < columns; i++)
                sums[t * columns + i] += double{elementOf(x, t0 + t, o)} * double{piece[i]};
          }
        }
        for (int64_t t = 0; t < some; t++)
          for (int64_t i = 0; i < columns; i++) writeElement(y, t0 + t, i0 + i, sums[t * columns + i]);
      }
    });
  }
}
#endif

/** Operands y, x, storage of W; with a tail y, x, h, factor, storage of W. */
GRAFT_INLINE void product(const Call& call, bool transposed, bool tailed) {
  const double* p = call.params;
  const WeightSide side{call.source, weightOf(call, tailed ? 4 : 2), transposed};
  const int64_t n = side.outputs(), k = side.steps();
  const auto rows = static_cast<int64_t>(p[5]);
  const Output y{rowOf(call[0], static_cast<int64_t>(p[4]), n), call[0].dtype, n, 1.0f, p[2] != 0, false};
  WeightTerm terms[2] = {{{rowOf(call[1], static_cast<int64_t>(p[3]), k), call[1].dtype, k, true}, side}};
  graft_operand factor[2] = {};
  float scale = 1;
  if (tailed) {
    const auto rank = static_cast<int64_t>(p[6]), hRow = static_cast<int64_t>(p[7]);
    const bool hTransposed = p[8] != 0;
    const int64_t width = hTransposed ? rows : rank;
    scale = static_cast<float>(p[9]);
    factor[0] = *reinterpret_cast<const graft_operand*>(&call[3]);
    factor[1] = {&scale, GRAFT_F32, 1, {1, 1, 1, 1}};
    terms[1] = {{rowOf(call[2], hRow, width), call[2].dtype, width, !hTransposed},
                {&scaledFactor, {transposed ? rank : n, transposed ? n : rank, factor, 2, nullptr}, transposed}};
  }
  multiplyWeights(call.pool, y, rows, terms, tailed ? 2 : 1);
}

void apply(const Call& call) { product(call, false, false); }
void applyTransposed(const Call& call) { product(call, true, false); }
void applyWithTail(const Call& call) { product(call, false, true); }
void applyTransposedWithTail(const Call& call) { product(call, true, true); }

/** to[0, columns) = W[row], in f32 or bf16. */
GRAFT_INLINE void writeRow(const Call& call, const graft_weight& w, const Operand& out, int64_t outRow, int64_t row,
                           float* piece) {
  for (int64_t i = 0; i < w.in; i += pieceColumns) {
    const int64_t columns = smaller(pieceColumns, w.in - i);
    if (out.dtype == DType::f32) {
      call.source->row_f32(&w, out.as<float>() + outRow * w.in + i, row, i, columns);
    } else if (GRAFT_SOURCE_HAS(call.source, row_bf16)) {
      call.source->row_bf16(&w, out.as<uint16_t>() + outRow * w.in + i, row, i, columns);
    } else {
      call.source->row_f32(&w, piece, row, i, columns);
      BF16* to = out.as<BF16>() + outRow * w.in + i;
      int64_t c = 0;
      for (; c + kLanes <= columns; c += kLanes) store(to + c, load(piece + c));
      for (; c < columns; c++) narrow(piece[c], to + c);
    }
  }
}

/** Rows to a task: some 64 K elements. */
GRAFT_INLINE int64_t rowsOfTask(int64_t in) { return larger(1, (64 << 10) / larger(1, in)); }

void dequantizeRows(const Call& call) {
  const graft_weight w = weightOf(call, 1);
  const auto firstRow = static_cast<int64_t>(call.params[2]);
  const int64_t rows = call[0].rows(), some = rowsOfTask(w.in);
  call.pool.parallel(ceilDiv(rows, some), [&](int64_t index, int worker) {
    float* piece = static_cast<float*>(call.pool.scratch(worker));
    for (int64_t r = index * some; r < smaller(rows, (index + 1) * some); r++)
      writeRow(call, w, call[0], r, firstRow + r, piece);
  });
}

void gatherRows(const Call& call) {
  const graft_weight w = weightOf(call, 2);
  const int32_t* ids = call[1].as<const int32_t>();
  const int64_t rows = call[0].rows(), some = rowsOfTask(w.in);
  call.pool.parallel(ceilDiv(rows, some), [&](int64_t index, int worker) {
    float* piece = static_cast<float*>(call.pool.scratch(worker));
    for (int64_t r = index * some; r < smaller(rows, (index + 1) * some); r++) {
      if (ids[r] < 0 || ids[r] >= w.out) {
        call.fault("an id is outside the rows of the weight");
        return;
      }
      writeRow(call, w, call[0], r, ids[r], piece);
    }
  });
}

void rowNormsSquared(const Call& call) {
  const graft_weight w = weightOf(call, 1);
  float* norms = call[0].as<float>();
  const int64_t some = rowsOfTask(w.in);
  call.pool.parallel(ceilDiv(w.out, some), [&](int64_t index, int worker) {
    float* piece = static_cast<float*>(call.pool.scratch(worker));
    for (int64_t o = index * some; o < smaller(w.out, (index + 1) * some); o++) {
      double sum = 0;
      for (int64_t i0 = 0; i0 < w.in; i0 += pieceColumns) {
        const int64_t columns = smaller(pieceColumns, w.in - i0);
        call.source->row_f32(&w, piece, o, i0, columns);
        // Four chains, so that the additions overlap.
        double parts[4] = {};
        int64_t i = 0;
        for (; i + 4 <= columns; i += 4)
          for (int q = 0; q < 4; q++) parts[q] += double{piece[i + q]} * double{piece[i + q]};
        for (; i < columns; i++) parts[0] += double{piece[i]} * double{piece[i]};
        sum += (parts[0] + parts[1]) + (parts[2] + parts[3]);
      }
      norms[o] = static_cast<float>(sum);
    }
  });
}

}  // namespace

void register_weight(Registry& registry) {
  registry.add("X.apply", {"out", "in", "accumulate", "xRow", "yRow", "rows"}, apply);
  registry.add("X.applyTransposed", {"out", "in", "accumulate", "xRow", "yRow", "rows"}, applyTransposed);
  registry.add("X.applyWithTail", {"out", "in", "accumulate", "xRow", "yRow", "rows", "rank", "hRow", "hTransposed", "scale"}, applyWithTail);
  registry.add("X.applyTransposedWithTail", {"out", "in", "accumulate", "xRow", "yRow", "rows", "rank", "hRow", "hTransposed", "scale"}, applyTransposedWithTail);
  registry.add("X.dequantizeRows", {"out", "in", "firstRow"}, dequantizeRows);
  registry.add("X.gatherRows", {"out", "in"}, gatherRows);
  registry.add("X.rowNormsSquared", {"out", "in"}, rowNormsSquared);
}

}  // namespace GRAFT_ISA
}  // namespace graft
