// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// The codec `dense`: W [out, in] as one row-major tensor of f32, bf16 or f16, read as it lies.

#include <graft/gemm_dot.h>
#include <graft/gemm_fill.h>

namespace graft {
namespace GRAFT_ISA {

namespace {

using namespace panels;

GRAFT_INLINE Matrix matrixOf(const graft_weight* w) {
  return {w->storage[0].data, static_cast<DType>(w->storage[0].dtype), w->in, true};
}

#if GRAFT_SCALAR
void row(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  for (int64_t c = 0; c < cols; c++) dst[c] = elementOf(matrixOf(w), row, col0 + c);
}
constexpr graft_panel_source source{sizeof(graft_panel_source), 1,       row,     nullptr, nullptr, nullptr, nullptr,
                                    nullptr,                    nullptr, nullptr, nullptr, nullptr, nullptr};
#else
void row(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  readMatrix(matrixOf(w), [&](const auto& reader) { copyRow(reader, dst, row, col0, cols); });
}
template <class Kind>
void fill(const graft_weight* w, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
          int64_t cols, int32_t transposed) {
  readMatrix(matrixOf(w), [&](const auto& reader) {
    packBlock<Kind>(reader, dst, width, row0, rows, col0, cols, transposed != 0);
  });
}
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  readMatrix(matrixOf(w), [&](const auto& reader) {
    dotBlock(reader, y, yStride, x, xStride, tokens, row0, rows, w->in);
  });
}
int64_t lines(const graft_weight* w, const void** lines, int64_t room, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  const Matrix m = matrixOf(w);
  return linesOfDense(lines, room, m.data, m.dtype, m.ld, row0, rows, col0, cols);
}
template <class Kind, class T>
void rows(const graft_weight* w, T* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  readMatrix(matrixOf(w), [&](const auto& reader) {
    copyRows<Kind>(reader, reinterpret_cast<typename Kind::Element*>(dst), stride / Kind::perElement, row0, rows, col0, cols);
  });
}
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    1,
                                    row,
                                    fill<Singles>,
                                    multipliesPairs ? fill<Pairs> : nullptr,
                                    dot,
                                    nullptr,
                                    nullptr,
                                    nullptr,
                                    nullptr,
                                    lines,
                                    rows<Singles, float>,
                                    multipliesPairs ? rows<Pairs, uint16_t> : nullptr};
#endif

}  // namespace

void register_dense(Registry& registry) { registry.addPanelSource("dense", &source); }

}  // namespace GRAFT_ISA
}  // namespace graft
