/*
 * A panel source: how matrix products read a weight, whatever its storage.
 *
 * A codec (dense, nf4, a GGUF block format) describes its weight W [out, in] by this record of functions, and every kernel
 * that multiplies by W reads it through them: the codec's own apply and applyTransposed, gathers, norms, and fused
 * operators of other packages. Dequantisation happens while a panel is packed, a few per cent of the multiply's time;
 * no dequantised copy of W exists. Plain C, so that a plug-in's shared library can hold one.
 *
 * Only `row_f32` is required. The rest are faster ways to the same numbers, and null where a codec has none:
 * a panel is then packed from rows.
 *
 * All functions are called from several threads at once, must not allocate, throw or keep state, and see arguments that
 * were checked: 0 <= row0, row0 + rows <= out, likewise columns.
 */
#ifndef GRAFT_PANEL_H
#define GRAFT_PANEL_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How a scale format keeps the scales [n] of a quantised weight. A quantiser's panel source reads its scales by this record
 * and knows no format; a format knows no quantiser. The storage is what ScaleFormat.encode made, in its order.
 */
struct graft_scale_reader {
  /** sizeof(graft_scale_reader) where the reader was compiled. */
  uint32_t bytes;
  /** Tensors of the storage. */
  uint32_t storage_count;
  /** n */
  int64_t (*count)(const graft_operand* storage);
  /** dst[i] = scale first + i * stride for i of [0, count). */
  void (*read_f32)(const graft_operand* storage, float* dst, int64_t first, int64_t count, int64_t stride);
};

/** W [out, in] as it lies in memory: the storage operands of one command, in the codec's own order. */
typedef struct graft_weight {
  int64_t out;
  int64_t in;
  const graft_operand* storage;
  int64_t storage_count;
  /** Reads the scales among them; null for a codec that has none of a format's. */
  const graft_scale_reader* scales;
} graft_weight;

struct graft_panel_source {
  /** sizeof(graft_panel_source) where the source was compiled; fields beyond it count as null. */
  uint32_t bytes;
  /** Tensors that the codec's storage has; 0 if that varies. */
  uint32_t storage_count;

  /** dst[c] = W[row, col0 + c] for c of [0, cols). */
  void (*row_f32)(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols);

  /**
   * Packs rows [row0, row0 + rows) x columns [col0, col0 + cols) of W into panels of f32. One side of the block is the
   * outputs, the other the reduction:
   *   transposed = 0 (y = x W^T):  outputs are rows of W,    the reduction runs over its columns;
   *   transposed = 1 (dx = dy W):  outputs are columns of W, the reduction runs over its rows.
   * A panel holds `width` outputs: dst[(panel * k + p) * width + j] = element (output panel * width + j, reduction p),
   * k being the block's extent along the reduction. Outputs that the last panel lacks are filled with zeros.
   * `width` is a multiple of the ISA's vector (8 floats on AVX2, 16 on AVX-512, 4 on NEON), dst is 64-byte aligned.
   */
  void (*fill_f32)(const graft_weight* w, float* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                   int64_t cols, int32_t transposed);

  /**
   * The same in bf16, rounded to nearest even, for instruction sets that multiply bf16. An element of the panel is a
   * pair of neighbours along the reduction, the earlier in the low half; the reduction starts at an even index, and a
   * missing second half at its end is zero: dst[(panel * ceil(k / 2) + p / 2) * width + j].
   */
  void (*fill_bf16)(const graft_weight* w, uint32_t* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                    int64_t cols, int32_t transposed);

  /**
   * For a few tokens (1 to 4), reading W once at the speed of memory:
   * y[t * y_stride + r] = sum over c of x[t * x_stride + c] * W[row0 + r, c] for r of [0, rows).
   * x holds `in` values a token and zeros after them up to a multiple of 64; rows begin 64-byte aligned.
   * A result must not depend on `tokens`, `row0` or `rows`.
   */
  void (*dot_f32)(const graft_weight* w, float* y, int64_t y_stride, const float* x, int64_t x_stride, int64_t tokens,
                  int64_t row0, int64_t rows);

  /** As row_f32, in bf16 rounded to nearest even. */
  void (*row_bf16)(const graft_weight* w, uint16_t* dst, int64_t row, int64_t col0, int64_t cols);

  /**
   * As dot_f32, of tokens made ready once for a product, in an order and precision that suit the codes; all three or none.
   * `rounded`: x is stored in bf16, and the result may be as rough as if W were rounded to bf16.
   * token_bytes: what a token takes when ready, at most that of x in f32 and 64 more; 0 where this weight has no such way,
   * and dot_f32 serves. ready_token: one token, x as dot_f32 has it. dot_ready: x_stride in bytes.
   */
  int64_t (*token_bytes)(const graft_weight* w, int32_t rounded);
  void (*ready_token)(const graft_weight* w, void* dst, const float* x, int32_t rounded);
  void (*dot_ready)(const graft_weight* w, float* y, int64_t y_stride, const void* x, int64_t x_stride, int64_t tokens,
                    int64_t row0, int64_t rows, int32_t rounded);

  /**
   * The cache lines that filling rows [row0, row0 + rows) x columns [col0, col0 + cols) reads: an address in each, at most
   * `room` of them, into `lines`; returns how many. They are asked of memory while the block before is multiplied, and never
   * read through these addresses, so a line too few or past the end does no harm.
   */
  int64_t (*lines)(const graft_weight* w, const void** lines, int64_t room, int64_t row0, int64_t rows, int64_t col0,
                   int64_t cols);

  /**
   * Several rows as they are: dst[r * stride + c] = W[row0 + r, col0 + c], in f32 or in bf16 rounded to nearest even. What
   * lies between a row's end and the next row may be overwritten, up to a multiple of 64 values. For products with few tokens,
   * which multiply rows without transposing them.
   */
  void (*rows_f32)(const graft_weight* w, float* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols);
  void (*rows_bf16)(const graft_weight* w, uint16_t* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0,
                    int64_t cols);
};

#ifdef __cplusplus
}
#endif

#endif
