// GeGLU's gate (Shazeer, arXiv:2002.05202) with GELU by tanh (Hendrycks and Gimpel, arXiv:1606.08415), element by element.
// graft-isa: scalar avx2 avx512 neon
//
//   v = 2 √(2/π) · (gate + 0.044715 gate³)               all operands of one size
//   s = 1 / (1 + e^−v) = ½ (1 + tanh(v / 2)), without the cancellation at large negative gates
//   y = gate · s · up
//   dGate = dy · up · s · (1 + gate · (1 − s) · v′),  v′ = 2 √(2/π) · (1 + 3 · 0.044715 gate²)
//   dUp = dy · gate · s
//
// The outputs may be any of the inputs: a block is read before it is written.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

constexpr float slope = 1.5957691216057308f, cube = 0.044715f;

GRAFT_INLINE F32 share(F32 x) { return sigmoid(slope * x * (1.0f + cube * x * x)); }

static void geglu(const Call& call) {
  const Operand &y = call[0], &gate = call[1], &up = call[2];
  eachBlock(call.pool, y.size(), [&](int64_t from, int64_t count) {
    Buffer yBuffer, gateBuffer, upBuffer;
    float* to = target(y, from, count, yBuffer, false);
    const float *g = read(gate, from, count, gateBuffer), *u = read(up, from, count, upBuffer);
    map(to, count, [](F32 x, F32 v) { return x * share(x) * v; }, g, u);
    write(y, from, count, to);
  });
}

/** Both gradients of one vector of elements, so that the share is computed once. */
GRAFT_INLINE void backward(F32 d, F32 gate, F32 up, F32& dGate, F32& dUp) {
  const F32 s = share(gate);
  dUp = d * gate * s;
  dGate = d * up * s * (1.0f + gate * (1.0f - s) * slope * (1.0f + 3.0f * cube * gate * gate));
}

static void gegluBackward(const Call& call) {
  const Operand &dGate = call[0], &dUp = call[1], &dy = call[2], &gate = call[3], &up = call[4];
  eachBlock(call.pool, dy.size(), [&](int64_t from, int64_t count) {
    Buffer dGateBuffer, dUpBuffer, dyBuffer, gateBuffer, upBuffer;
    float* toGate = target(dGate, from, count, dGateBuffer, false);
    float* toUp = target(dUp, from, count, dUpBuffer, false);
    const float *d = read(dy, from, count, dyBuffer), *g = read(gate, from, count, gateBuffer);
    const float* u = read(up, from, count, upBuffer);
    F32 forGate, forUp;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      backward(load(d + i), load(g + i), load(u + i), forGate, forUp);
      store(toGate + i, forGate);
      store(toUp + i, forUp);
    }
    if (const int64_t rest = count - i; rest > 0) {
      backward(loadPart(d + i, rest), loadPart(g + i, rest), loadPart(u + i, rest), forGate, forUp);
      storePart(toGate + i, forGate, rest);
      storePart(toUp + i, forUp, rest);
    }
    write(dGate, from, count, toGate);
    write(dUp, from, count, toUp);
  });
}

void register_geglu(Registry& registry) {
  registry.add("geglu", {}, geglu);
  registry.add("gegluBackward", {}, gegluBackward);
}

}  // namespace GRAFT_ISA
}  // namespace graft
