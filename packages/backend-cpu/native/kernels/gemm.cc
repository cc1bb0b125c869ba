// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// gemm: out[m, n] (+)= scale . A[m, k] . B[k, n]. A is stored [m, k], or [k, m] when `ta`; B [k, n], or [n, k] when `tb`.
// Row offsets count rows as stored. Any mix of f32 and bf16; sums are f32 or better, rounded once.

#include <graft/gemm_product.h>

namespace graft {
namespace GRAFT_ISA {

namespace {

using namespace panels;

struct GemmCall {
  int64_t m, k, n;
  bool ta, tb;
  Output out;
  Matrix a, b;
};

GRAFT_INLINE GemmCall decode(const Call& call) {
  const double* p = call.params;
  const auto m = static_cast<int64_t>(p[0]), k = static_cast<int64_t>(p[1]), n = static_cast<int64_t>(p[2]);
  const bool ta = p[3] != 0, tb = p[4] != 0;
  const int64_t widthA = ta ? m : k, widthB = tb ? k : n;
  const Operand &out = call[0], &a = call[1], &b = call[2];
  return {m, k, n, ta, tb,
          {rowOf(out, static_cast<int64_t>(p[7]), n), out.dtype, n, static_cast<float>(p[5]),
           p[6] != 0, false},
          {rowOf(a, static_cast<int64_t>(p[8]), widthA), a.dtype, widthA, !ta},
          {rowOf(b, static_cast<int64_t>(p[9]), widthB), b.dtype, widthB, tb}};
}

#if GRAFT_SCALAR
/** The formula, an element at a time, with a sum in double. */
void gemm(const Call& call) {
  const GemmCall c = decode(call);
  call.pool.parallel(c.m, [&](int64_t i, int) {
    for (int64_t j = 0; j < c.n; j++) {
      double sum = 0;
      for (int64_t p = 0; p < c.k; p++) sum += double{elementOf(c.a, i, p)} * double{elementOf(c.b, j, p)};
      writeElement(c.out, i, j, sum);
    }
  });
}
#else
void gemm(const Call& call) {
  const GemmCall c = decode(call);
  multiplyMatrices(call.pool, c.out, c.m, c.n, c.k, c.a, c.b);
}
#endif

}  // namespace

void register_gemm(Registry& registry) {
  registry.add("gemm", {"m", "k", "n", "ta", "tb", "scale", "accumulate", "outRow", "aRow", "bRow"}, gemm);
}

}  // namespace GRAFT_ISA
}  // namespace graft
