// SwiGLU's gate (Shazeer, arXiv:2002.05202): a gated unit with a(x) = x · σ(x).
// graft-isa: scalar avx2 avx512 avx512bf16 neon
#include <graft/gated.h>

namespace graft {
namespace GRAFT_ISA {

namespace {
struct Silu {
  static GRAFT_INLINE F32 share(F32 x) { return sigmoid(x); }
  static GRAFT_INLINE F32 bend(F32, F32 t) { return t; }
};
}  // namespace

void register_swiglu(Registry& registry) {
  registry.add("swiglu", {}, gated<Silu>);
  registry.add("swigluBackward", {}, gatedBackward<Silu, false>);
  registry.add("swigluBackwardWithY", {}, gatedBackward<Silu, true>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
