// One side of a product as panels: a dense matrix, or a weight through its panel source.
#pragma once

#include <graft/gemm_ahead.h>
#include <graft/gemm_pack.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** One side of a product: outputs are A's rows or B's columns. */
struct Filler {
  const void* self;
  /** Panels of `width` of outputs [first, first + count), steps [k0, k0 + k), in the kind's elements. */
  void (*fill)(const void* self, void* dst, int64_t width, int64_t first, int64_t count, int64_t k0, int64_t k,
               void* scratch);
  /** The cache lines that fill reads, at most `room`, into `lines`; how many. Only asked for, never read. */
  int64_t (*list)(const void* self, const void** lines, int64_t room, int64_t first, int64_t count, int64_t k0, int64_t k);
  /** Neighbours along the reduction lie side by side in memory. */
  bool along;
  /** Outputs [first, first + count) one after another, `stride` elements apart, k steps each; null where they lie across. */
  void (*rows)(const void* self, void* dst, int64_t stride, int64_t first, int64_t count, int64_t k0, int64_t k, void* scratch);
};

template <class Kind>
static void fillMatrix(const void* self, void* dst, int64_t width, int64_t first, int64_t count, int64_t k0, int64_t k,
                       void*) {
  pack<Kind>(*static_cast<const Matrix*>(self), dst, width, first, count, k0, k);
}
static inline int64_t listMatrix(const void* self, const void** lines, int64_t room, int64_t first, int64_t count, int64_t k0,
                                 int64_t k) {
  const auto& [data, dtype, ld, along] = *static_cast<const Matrix*>(self);
  return along ? linesOfDense(lines, room, data, dtype, ld, first, count, k0, k)
               : linesOfDense(lines, room, data, dtype, ld, k0, k, first, count);
}
/** A dense matrix as one side; it must outlive the product. */
template <class Kind>
GRAFT_INLINE Filler fillerOf(const Matrix& matrix) {
  return {&matrix, fillMatrix<Kind>, listMatrix, matrix.along, nullptr};
}

/** Rows [row0, row0 + rows) x columns [column0, column0 + k) of what a reader reads, in the kind's elements. */
template <class Kind, class Reader>
GRAFT_INLINE void copyRows(const Reader& reader, typename Kind::Element* dst, int64_t stride, int64_t row0, int64_t rows,
                           int64_t column0, int64_t k) {
  constexpr int64_t step = Kind::perElement * lanes;
  for (int64_t r = 0; r < rows; r++, dst += stride)
    for (int64_t c = 0; c < k; c += step)
      storeWords(dst + c / Kind::perElement, k - c >= step ? readAlong<Kind>(reader, row0 + r, column0 + c)
                                                           : readAlongPart<Kind>(reader, row0 + r, column0 + c, k - c));
}

template <class Kind>
static void fillWeight(const void* self, void* dst, int64_t width, int64_t first, int64_t count, int64_t k0, int64_t k,
                       void* scratch) {
  const WeightSide& side = *static_cast<const WeightSide*>(self);
  const graft_panel_source* source = side.source;
  const int64_t row0 = side.transposed ? k0 : first, rows = side.transposed ? k : count;
  const int64_t column0 = side.transposed ? first : k0, columns = side.transposed ? count : k;
  if constexpr (Kind::perElement == 1) {
    if (GRAFT_SOURCE_HAS(source, fill_f32)) {
      source->fill_f32(&side.weight, static_cast<float*>(dst), width, row0, rows, column0, columns, side.transposed);
      return;
    }
  } else {
    if (GRAFT_SOURCE_HAS(source, fill_bf16)) {
      source->fill_bf16(&side.weight, static_cast<uint32_t*>(dst), width, row0, rows, column0, columns, side.transposed);
      return;
    }
  }
  float* block = static_cast<float*>(scratch);
  for (int64_t r = 0; r < rows; r++) source->row_f32(&side.weight, block + r * columns, row0 + r, column0, columns);
  pack<Kind>(Matrix{block, DType::f32, columns, !side.transposed}, dst, width, 0, count, 0, k);
}
template <class Kind>
static void rowsOfWeight(const void* self, void* dst, int64_t stride, int64_t first, int64_t count, int64_t k0, int64_t k,
                         void* scratch) {
  const WeightSide& side = *static_cast<const WeightSide*>(self);
  const graft_panel_source* source = side.source;
  if constexpr (Kind::perElement == 1) {
    if (GRAFT_SOURCE_HAS(source, rows_f32)) {
      source->rows_f32(&side.weight, static_cast<float*>(dst), stride, first, count, k0, k);
      return;
    }
  } else {
    if (GRAFT_SOURCE_HAS(source, rows_bf16)) {
      auto* halves = static_cast<uint16_t*>(dst);
      source->rows_bf16(&side.weight, halves, 2 * stride, first, count, k0, k);
      for (int64_t r = 0; k % 2 != 0 && r < count; r++) halves[2 * r * stride + k] = 0;
      return;
    }
  }
  float* block = static_cast<float*>(scratch);
  for (int64_t r = 0; r < count; r++) source->row_f32(&side.weight, block + r * k, first + r, k0, k);
  copyRows<Kind>(DenseReader<float>(block, k), static_cast<typename Kind::Element*>(dst), stride, 0, count, 0, k);
}
static inline int64_t listWeight(const void* self, const void** lines, int64_t room, int64_t first, int64_t count, int64_t k0,
                                 int64_t k) {
  const auto& [source, weight, transposed] = *static_cast<const WeightSide*>(self);
  if (!GRAFT_SOURCE_HAS(source, lines)) return 0;
  return transposed ? source->lines(&weight, lines, room, k0, k, first, count) : source->lines(&weight, lines, room, first, count, k0, k);
}
template <class Kind>
GRAFT_INLINE Filler fillerOf(const WeightSide& side) {
  return {&side, fillWeight<Kind>, listWeight, !side.transposed, side.transposed ? nullptr : rowsOfWeight<Kind>};
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
