// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// The panel sources `nf4` and `fp4`: codes are decoded into the first-level cache while a panel is packed, and nowhere else.
// And the scale format `f32`: the scales themselves.

#include <graft/gemm_ahead.h>

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
constexpr graft_panel_source source{sizeof(graft_panel_source), 0, row<book>, nullptr, nullptr, nullptr, row<book>, nullptr,
                                    nullptr, nullptr, nullptr, nullptr, nullptr};
#else
template <const Codebook& book>
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  dotDecoded<book>(FourBitWeight(w), y, yStride, x, xStride, tokens, row0, rows);
}
template <const Codebook& book, class T>
void rows(const graft_weight* w, T* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  decodeRows<book>(FourBitWeight(w), dst, stride, row0, rows, col0, cols);
}
/** NEON has no shorter way to integers. */
template <const Codebook& book, class Use>
GRAFT_INLINE void withPath(int32_t rounded, const Use& use) {
  if (rounded != 0 && lanes > 4) {
    use.template operator()<RoundedDot<book>>();
  } else {
    use.template operator()<ExactDot<book>>();
  }
}
/** Of the codes alone: scales are few. Rows of an odd width drift from this by half a byte each. */
int64_t lines(const graft_weight* w, const void** lines, int64_t room, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
  const auto* codes = static_cast<const uint8_t*>(w->storage[0].data) + (row0 * w->in + col0) / 2;
  return linesOfRows(lines, room, codes, w->in / 2, rows, ceilDiv(cols, 2));
}
template <const Codebook& book>
int64_t tokenBytes(const graft_weight* weight, int32_t rounded) {
  const FourBitWeight w(weight);
  int64_t bytes = 0;
  if (unitsFitRows(w)) withPath<book>(rounded, [&]<class Path>() { bytes = bytesOfToken<Path>(w); });
  return bytes;
}
template <const Codebook& book>
void readyToken(const graft_weight* weight, void* dst, const float* x, int32_t rounded) {
  withPath<book>(rounded, [&]<class Path>() { readyToken<Path>(FourBitWeight(weight), dst, x); });
}
template <const Codebook& book>
void dotReady(const graft_weight* weight, float* y, int64_t yStride, const void* tokens, int64_t stride, int64_t count,
              int64_t row0, int64_t rows, int32_t rounded) {
  const FourBitWeight w(weight);
  withPath<book>(rounded, [&]<class Path>() {
    using Element = typename Path::Element;
    const auto* x = static_cast<const Element*>(tokens);
    const int64_t elements = stride / static_cast<int64_t>(sizeof(Element));
    if (count == 1) dotReady<Path, 1>(w, y, yStride, x, elements, row0, rows);
    if (count == 2) dotReady<Path, 2>(w, y, yStride, x, elements, row0, rows);
    if (count == 3) dotReady<Path, 3>(w, y, yStride, x, elements, row0, rows);
    if (count == 4) dotReady<Path, 4>(w, y, yStride, x, elements, row0, rows);
  });
}
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    0,
                                    row<book>,
                                    pack<book, Singles>,
                                    multipliesPairs ? pack<book, Pairs> : nullptr,
                                    dot<book>,
                                    row<book>,
                                    tokenBytes<book>,
                                    readyToken<book>,
                                    dotReady<book>,
                                    lines,
                                    rows<book, float>,
                                    multipliesPairs ? rows<book, uint16_t> : nullptr};
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
