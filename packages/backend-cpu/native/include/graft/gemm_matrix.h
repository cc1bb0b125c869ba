// The operands of a product: dense matrices, weights behind a panel source, the output. Shared by all instruction sets.
#pragma once

#include <graft/panel.h>
#include <graft/simd.h>

namespace graft {
namespace GRAFT_ISA {
namespace panels {

GRAFT_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
GRAFT_INLINE int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
GRAFT_INLINE constexpr int64_t multipleUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

/** A dense matrix as one side of a product: output o, step p is data[o * ld + p] if `along`, else data[p * ld + o]. */
struct Matrix {
  const void* data;
  DType dtype;
  int64_t ld;
  bool along;
};

/** A weight as B: W^T (outputs are its rows) or W (`transposed`, outputs are its columns). */
struct WeightSide {
  const graft_panel_source* source;
  graft_weight weight;
  bool transposed;

  GRAFT_INLINE int64_t outputs() const { return transposed ? weight.in : weight.out; }
  GRAFT_INLINE int64_t steps() const { return transposed ? weight.out : weight.in; }
};

/** x . W^T or x . W as one term of a sum. */
struct WeightTerm {
  Matrix x;
  WeightSide side;
};

/** A function that a source has, or null: records may come from an older header, and be shorter. */
#define GRAFT_SOURCE_HAS(source, member) \
  ((source)->bytes >= offsetof(graft_panel_source, member) + sizeof((source)->member) && (source)->member != nullptr)

/** out (+)= scale * sums, in f32 or bf16; `flipped`: the product was computed as out^T. */
struct Output {
  void* data;
  DType dtype;
  int64_t ld;
  float scale;
  bool accumulate;
  bool flipped;
};

template <class T>
GRAFT_INLINE void put(T* to, float value, bool accumulate) {
  narrow(accumulate ? widen(*to) + value : value, to);
}
GRAFT_INLINE void put(float* to, float value, bool accumulate) { *to = accumulate ? *to + value : value; }

/** Row `row` of an operand, `columns` wide. */
GRAFT_INLINE void* rowOf(const Operand& operand, int64_t row, int64_t columns) {
  return static_cast<char*>(operand.data) + row * columns * bytesOf(operand.dtype);
}

/** Output o, step p of a matrix. */
GRAFT_INLINE float elementOf(const Matrix& matrix, int64_t o, int64_t p) {
  const int64_t at = matrix.along ? o * matrix.ld + p : p * matrix.ld + o;
  if (matrix.dtype == DType::f32) return static_cast<const float*>(matrix.data)[at];
  if (matrix.dtype == DType::bf16) return widen(static_cast<const BF16*>(matrix.data)[at]);
  return widen(static_cast<const F16*>(matrix.data)[at]);
}
/** out[row, column] (+)= scale * sum */
GRAFT_INLINE void writeElement(const Output& out, int64_t row, int64_t column, double sum) {
  const int64_t at = row * out.ld + column;
  const float value = out.scale * static_cast<float>(sum);
  if (out.dtype == DType::f32) {
    put(static_cast<float*>(out.data) + at, value, out.accumulate);
  } else {
    put(static_cast<BF16*>(out.data) + at, value, out.accumulate);
  }
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft
