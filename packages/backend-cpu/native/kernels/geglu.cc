// GeGLU's gate (Shazeer, arXiv:2002.05202) with GELU by tanh (Hendrycks and Gimpel, arXiv:1606.08415): a gated unit with
// a(x) = x · σ(v),  v = 2 √(2/π) · (x + 0.044715 x³):  σ(v) = ½ (1 + tanh(v / 2)), without the cancellation at large negative x.
// graft-isa: scalar avx2 avx512 avx512bf16 neon
#include <graft/gated.h>

namespace graft {
namespace GRAFT_ISA {

namespace {
constexpr float slope = 1.5957691216057308f, cube = 0.044715f;

struct Gelu {
  static GRAFT_INLINE F32 share(F32 x) { return sigmoid(slope * x * (1.0f + cube * x * x)); }
  static GRAFT_INLINE F32 bend(F32 x, F32 t) { return t * slope * (1.0f + 3.0f * cube * x * x); }
};
}  // namespace

void register_geglu(Registry& registry) {
  registry.add("geglu", {}, gated<Gelu>);
  registry.add("gegluBackward", {}, gatedBackward<Gelu, false>);
  registry.add("gegluBackwardWithY", {}, gatedBackward<Gelu, true>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
