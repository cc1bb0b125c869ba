// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// The codec `dense`: W [out, in] as one row-major tensor of f32, bf16 or f16, read as it lies.

#include <graft/gemm_dot.h>

namespace graft {
namespace GRAFT_ISA {

namespace {

using namespace panels;

GRAFT_INLINE Matrix matrixOf(const graft_weight* w, bool along) {
  return {w->storage[0].data, static_cast<DType>(w->storage[0].dtype), w->in, along};
}

void row(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  const Matrix matrix = matrixOf(w, true);
#if GRAFT_SCALAR
  for (int64_t c = 0; c < cols; c++) dst[c] = elementOf(matrix, row, col0 + c);
#else
  copyRow(matrix, dst, row, col0, cols);
#endif
}

#if !GRAFT_SCALAR
template <class Kind>
GRAFT_INLINE void fill(const graft_weight* w, void* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
                       int64_t cols, int32_t transposed) {
  if (transposed != 0) {
    pack<Kind>(matrixOf(w, false), dst, width, col0, cols, row0, rows);
  } else {
    pack<Kind>(matrixOf(w, true), dst, width, row0, rows, col0, cols);
  }
}
void fillF32(const graft_weight* w, float* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0, int64_t cols,
             int32_t transposed) {
  fill<Singles>(w, dst, width, row0, rows, col0, cols, transposed);
}
void fillBf16(const graft_weight* w, uint32_t* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
              int64_t cols, int32_t transposed) {
  fill<Pairs>(w, dst, width, row0, rows, col0, cols, transposed);
}
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  dotMatrix(y, yStride, x, xStride, tokens, matrixOf(w, true), row0, rows, w->in);
}
constexpr graft_panel_source source{sizeof(graft_panel_source), 1, row, fillF32, multipliesPairs ? fillBf16 : nullptr, dot};
#else
constexpr graft_panel_source source{sizeof(graft_panel_source), 1, row, nullptr, nullptr, nullptr};
#endif

}  // namespace

void register_dense(Registry& registry) { registry.addPanelSource("dense", &source); }

}  // namespace GRAFT_ISA
}  // namespace graft
