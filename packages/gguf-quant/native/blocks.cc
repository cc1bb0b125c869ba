// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// Panel sources of ggml's block formats, each by its own name: W [out, in] lies in memory as in a GGUF, u8 [out, bytes of a
// row], and a row is in / elements blocks of value = scale * code + offset (unit.h).

#include "dot.h"
#include "pack.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

template <class Format, class T>
void row(const graft_weight* w, T* dst, int64_t row, int64_t col0, int64_t cols) {
  decodeRow<Format>(w, dst, row, col0, cols);
}

#if GRAFT_SCALAR
template <class Format>
constexpr graft_panel_source source{sizeof(graft_panel_source), 1,       row<Format, float>, nullptr, nullptr,
                                    nullptr,                    row<Format, uint16_t>};
#else
template <class Format>
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  if (tokens == 1) dotRows<Format, 1>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 2) dotRows<Format, 2>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 3) dotRows<Format, 3>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 4) dotRows<Format, 4>(w, y, yStride, x, xStride, row0, rows);
}
template <class Format>
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    1,
                                    row<Format, float>,
                                    pack<Format, Singles>,
                                    multipliesPairs ? pack<Format, Pairs> : nullptr,
                                    dot<Format>,
                                    row<Format, uint16_t>};
#endif

}  // namespace

void register_blocks(Registry& registry) {
  registry.addPanelSource("Q8_0", &source<Q8_0>);
  registry.addPanelSource("Q4_0", &source<Q4_0>);
  registry.addPanelSource("Q4_1", &source<Q4_1>);
  registry.addPanelSource("Q5_0", &source<Q5_0>);
  registry.addPanelSource("Q5_1", &source<Q5_1>);
  registry.addPanelSource("IQ4_NL", &source<IQ4_NL>);
  registry.addPanelSource("Q2_K", &source<Q2_K>);
  registry.addPanelSource("Q3_K", &source<Q3_K>);
  registry.addPanelSource("Q4_K", &source<Q4_K>);
  registry.addPanelSource("Q5_K", &source<Q5_K>);
  registry.addPanelSource("Q6_K", &source<Q6_K>);
  registry.addPanelSource("IQ4_XS", &source<IQ4_XS>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
