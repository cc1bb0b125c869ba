// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// A frozen weight as a linear operator, for any codec that has a panel source. W is [out, in].
//   apply            y[yRow + t] (+)= x[xRow + t] . W^T
//   applyTransposed  dx[yRow + t] (+)= dy[xRow + t] . W
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

GRAFT_INLINE void product(const Call& call, bool transposed) {
  const WeightSide side{call.source, weightOf(call, 2), transposed};
  const int64_t n = transposed ? side.weight.in : side.weight.out, k = transposed ? side.weight.out : side.weight.in;
  const auto rows = static_cast<int64_t>(call.params[5]);
  const Output y{rowOf(call[0], static_cast<int64_t>(call.params[4]), n), call[0].dtype, n, 1.0f, call.params[2] != 0,
                 false};
  const Matrix x{rowOf(call[1], static_cast<int64_t>(call.params[3]), k), call[1].dtype, k, true};
#if GRAFT_SCALAR
  // The formula: a block of W's columns or rows at a time, each element a sum in double.
  if (!transposed) {
    call.pool.parallel(n, [&](int64_t o, int worker) {
      double* sums = static_cast<double*>(call.pool.scratch(worker));
      float* piece = reinterpret_cast<float*>(sums + scalarRows);
      for (int64_t t0 = 0; t0 < rows; t0 += scalarRows) {
        const int64_t some = smaller(scalarRows, rows - t0);
        for (int64_t t = 0; t < some; t++) sums[t] = 0;
        for (int64_t i0 = 0; i0 < k; i0 += pieceColumns) {
          const int64_t columns = smaller(pieceColumns, k - i0);
          side.source->row_f32(&side.weight, piece, o, i0, columns);
          for (int64_t t = 0; t < some; t++)
            for (int64_t i = 0; i < columns; i++) sums[t] += double{elementOf(x, t0 + t, i0 + i)} * double{piece[i]};
        }
        for (int64_t t = 0; t < some; t++) writeElement(y, t0 + t, o, sums[t]);
      }
    });
  } else {
    constexpr int64_t columnsOfTask = 64, together = 128;
    call.pool.parallel(ceilDiv(n, columnsOfTask), [&](int64_t index, int worker) {
      double* sums = static_cast<double*>(call.pool.scratch(worker));
      float piece[columnsOfTask];
      const int64_t i0 = index * columnsOfTask, columns = smaller(columnsOfTask, n - i0);
      for (int64_t t0 = 0; t0 < rows; t0 += together) {
        const int64_t some = smaller(together, rows - t0);
        for (int64_t s = 0; s < some * columns; s++) sums[s] = 0;
        for (int64_t o = 0; o < k; o++) {
          side.source->row_f32(&side.weight, piece, o, i0, columns);
          for (int64_t t = 0; t < some; t++)
            for (int64_t i = 0; i < columns; i++)
              sums[t * columns + i] += double{elementOf(x, t0 + t, o)} * double{piece[i]};
        }
        for (int64_t t = 0; t < some; t++)
          for (int64_t i = 0; i < columns; i++) writeElement(y, t0 + t, i0 + i, sums[t * columns + i]);
      }
    });
  }
#else
  multiplyWeight(call.pool, y, rows, x, side);
#endif
}

void apply(const Call& call) { product(call, false); }
void applyTransposed(const Call& call) { product(call, true); }

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
  registry.add("X.dequantizeRows", {"out", "in", "firstRow"}, dequantizeRows);
  registry.add("X.gatherRows", {"out", "in"}, gatherRows);
  registry.add("X.rowNormsSquared", {"out", "in"}, rowNormsSquared);
}

}  // namespace GRAFT_ISA
}  // namespace graft
