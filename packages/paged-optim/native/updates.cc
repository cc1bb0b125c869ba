// The updates of src/updateKernels.ts, which has the same formulas: AdamW and Adam, Lion, SGD with momentum.
// graft-isa: scalar avx2 avx512 neon
//
//   g' = g · factor                          state in records of a block (stateBlocks.h), w in place
//   Adam   g' ← fma(w, decay, g')   or, decoupled,  w ← w · (1 − lr · decay)
//          m ← fma(1 − β1, g' − m, m)        8 bits: fma(g', 1 − β1, m · β1)
//          v ← fma((1 − β2) · g', g', v · β2)
//          w ← w + (−lr / (1 − β1^t) · m) / (√v / √(1 − β2^t) + ε)
//   Lion   w ← fma(sign(fma(g', 1 − β1, m · β1)), −lr, w · (1 − lr · decay)),  m ← fma(g', 1 − β2, m · β2)
//          8 bits: sign(m · β1 + g' · (1 − β1))
//   SGD    m ← m · μ + fma(w, decay, g'),  w ← fma(m, −lr, w)
//
// Each line is f32 and rounded where torch on x86 rounds; factors that don't depend on the element are made in double and
// rounded once.
#include "stateBlocks.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

/** After start, count and offset. */
constexpr int kOwn = 3;

bool isFinite(const Call& call) { return call[3].as<const float>()[1] != 0; }

template <int bits>
void adam(const Call& call) {
  if (!isFinite(call)) return;
  const double* p = call.params + kOwn;
  const double rate = p[0], beta1 = p[1], beta2 = p[2], decay = p[4], steps = call[3].as<const float>()[2];
  const bool decoupled = p[5] != 0;
  const F32 keep = splat(float(decoupled ? 1 - rate * decay : 1)), epsilon = splat(float(p[3]));
  const float pull = decoupled ? 0 : float(decay), addM = float(1 - beta1);
  const F32 keepM = splat(float(beta1)), keepV = splat(float(beta2)), addV = splat(float(1 - beta2));
  const F32 size = splat(float(-rate / (1 - __builtin_pow(beta1, steps))));
  const F32 correction = splat(float(__builtin_sqrt(1 - __builtin_pow(beta2, steps))));
  const auto run = [&](const auto& meanOf) {
    updateRun<bits, 2>(call, [&](F32& w, F32 g, F32& m, F32& v) {
      if (pull != 0) g = fused(w, splat(pull), g);
      m = meanOf(m, g);
      v = fused(addV * g, g, v * keepV);
      w = w * keep + size * m / (squareRoot(v) / correction + epsilon);
    });
  };
  if (bits == 8) run([&](F32 m, F32 g) { return fused(g, splat(addM), m * keepM); });
  // torch's lerp, exact at its nearer end.
  else if (addM < 0.5f) run([&](F32 m, F32 g) { return fused(splat(addM), g - m, m); });
  else run([&](F32 m, F32 g) { return fused(splat(addM - 1), g - m, g); });
}

template <int bits>
void lion(const Call& call) {
  if (!isFinite(call)) return;
  const double* p = call.params + kOwn;
  const F32 rate = splat(float(-p[0])), keep = splat(float(1 - p[0] * p[3]));
  const F32 keep1 = splat(float(p[1])), add1 = splat(float(1 - p[1])), keep2 = splat(float(p[2])), add2 = splat(float(1 - p[2]));
  updateRun<bits, 1>(call, [&](F32& w, F32 g, F32& m, F32&) {
    const F32 x = bits == 8 ? m * keep1 + g * add1 : fused(g, add1, m * keep1);
    const F32 sign = select(x > splat(0), splat(1), select(x < splat(0), splat(-1), x));
    w = fused(sign, rate, w * keep);
    m = fused(g, add2, m * keep2);
  });
}

template <int bits>
void sgd(const Call& call) {
  if (!isFinite(call)) return;
  const double* p = call.params + kOwn;
  const F32 rate = splat(float(-p[0])), keep = splat(float(p[1])), pull = splat(float(p[2]));
  updateRun<bits, 1>(call, [&](F32& w, F32 g, F32& m, F32&) {
    m = m * keep + fused(w, pull, g);
    w = fused(m, rate, w);
  });
}

}  // namespace

void register_updates(Registry& registry) {
  const auto add = [&](const char* name, std::initializer_list<const char*> fields, Body body) { registry.add(name, fields, body); };
  for (const bool wide : {false, true}) {
    add(wide ? "paged-optim.adam32" : "paged-optim.adam8",
        {"start", "count", "offset", "learningRate", "beta1", "beta2", "epsilon", "weightDecay", "decoupled"}, wide ? adam<32> : adam<8>);
    add(wide ? "paged-optim.lion32" : "paged-optim.lion8",
        {"start", "count", "offset", "learningRate", "beta1", "beta2", "weightDecay"}, wide ? lion<32> : lion<8>);
    add(wide ? "paged-optim.sgd32" : "paged-optim.sgd8", {"start", "count", "offset", "learningRate", "momentum", "weightDecay"},
        wide ? sgd<32> : sgd<8>);
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft
