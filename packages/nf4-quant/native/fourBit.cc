// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// The panel sources `nf4` and `fp4`: codes are decoded into the first-level cache while a panel is packed, and nowhere else.
// And the scale format `f32`: the scales themselves.

#include "dot.h"
#include "pack.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

template <const Codebook& book, class T>
void row(const graft_weight* w, T* dst, int64_t row, int64_t col0, int64_t cols) {
  decodeRow<book>(FourBitWeight(w), dst, row, col0, cols);
}

#if GRAFT_SCALAR
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source), 0, row<book>, nullptr, nullptr, nullptr, row<book>};
#else
template <const Codebook& book>
void dot(const graft_weight* weight, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
         int64_t row0, int64_t rows) {
  const FourBitWeight w(weight);
  if (tokens == 1) dotFourBits<book, 1>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 2) dotFourBits<book, 2>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 3) dotFourBits<book, 3>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 4) dotFourBits<book, 4>(w, y, yStride, x, xStride, row0, rows);
}
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    0,
                                    row<book>,
                                    pack<book, Singles>,
                                    multipliesPairs ? pack<book, Pairs> : nullptr,
                                    dot<book>,
                                    row<book>};
#endif

int64_t countScales(const graft_operand* storage) {
  return storage->shape[0] * storage->shape[1] * storage->shape[2] * storage->shape[3];
}
void readScales(const graft_operand* storage, float* dst, int64_t first, int64_t count, int64_t stride) {
  const float* from = static_cast<const float*>(storage->data) + first;
  for (int64_t i = 0; i < count; i++) dst[i] = from[i * stride];
}
constexpr graft_scale_reader plainScales{sizeof(graft_scale_reader), 1, countScales, readScales};

}  // namespace

void register_fourBit(Registry& registry) {
  registry.addPanelSource("nf4", &source<nf4>);
  registry.addPanelSource("fp4", &source<fp4>);
  registry.addScaleReader("f32", &plainScales);
}

}  // namespace GRAFT_ISA
}  // namespace graft
