// A gated unit and its gradients, element by element, for an activation a(x) = x · σ(v(x)): swiglu.cc and geglu.cc say which.
//
//   y = gate · s · up,  s = σ(v(gate))                   all operands of one size
//   dGate = dy · up · s · (1 + gate · (1 − s) · v′(gate))
//   dUp = dy · gate · s
//
// The outputs may be any of the inputs: a block is read before it is written. An Activation has `share(x)` = s, and
// `bend(x, t)` = t · v′(x).
#pragma once

#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

template <class Activation>
static void gated(const Call& call) {
  const Operand &y = call[0], &gate = call[1], &up = call[2];
  eachBlock(call.pool, y.size(), [&](int64_t from, int64_t count) {
    const auto unit = [](F32 x, F32 v) { return x * Activation::share(x) * v; };
    mapStretch({y, from}, count, false, unit, Stretch{gate, from}, Stretch{up, from});
  });
}

/** Both gradients of one vector of elements, so that the share is computed once. */
template <class Activation>
GRAFT_INLINE void gatedGradients(F32 d, F32 gate, F32 up, F32& dGate, F32& dUp) {
  const F32 s = Activation::share(gate);
  dUp = d * gate * s;
  dGate = d * up * s * (1.0f + Activation::bend(gate, gate * (1.0f - s)));
}

/** Both gradients of `together` vectors from element i on; their chains of arithmetic are long, and several fill the units. */
template <class Activation, int together, class T>
GRAFT_INLINE void gatedVectors(T* dGate, T* dUp, const T* dy, const T* gate, const T* up, int64_t i) {
  F32 forGate[together], forUp[together];
#pragma GCC unroll 4
  for (int v = 0; v < together; v++) {
    const int64_t at = i + v * kLanes;
    gatedGradients<Activation>(load(dy + at), load(gate + at), load(up + at), forGate[v], forUp[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < together; v++) {
    store(dGate + i + v * kLanes, forGate[v]);
    store(dUp + i + v * kLanes, forUp[v]);
  }
}

/** A block of them, from and to memory of any type. */
template <class Activation, class T>
GRAFT_INLINE void gatedBlock(T* dGate, T* dUp, const T* dy, const T* gate, const T* up, int64_t count) {
  F32 forGate, forUp;
  constexpr int together = 4;
  int64_t i = 0;
  for (; i + together * kLanes <= count; i += together * kLanes) gatedVectors<Activation, together>(dGate, dUp, dy, gate, up, i);
  for (; i + kLanes <= count; i += kLanes) gatedVectors<Activation, 1>(dGate, dUp, dy, gate, up, i);
  if (const int64_t rest = count - i; rest > 0) {
    gatedGradients<Activation>(loadPart(dy + i, rest), loadPart(gate + i, rest), loadPart(up + i, rest), forGate, forUp);
    storePart(dGate + i, forGate, rest);
    storePart(dUp + i, forUp, rest);
  }
}

template <class Activation>
static void gatedBackward(const Call& call) {
  const Operand &dGate = call[0], &dUp = call[1], &dy = call[2], &gate = call[3], &up = call[4];
  eachBlock(call.pool, dy.size(), [&](int64_t from, int64_t count) {
    const auto of = [&](const Operand& x) { return x.as<BF16>() + from; };
    if (allBF16(Stretch{dGate, 0}, Stretch{dUp, 0}, Stretch{dy, 0}, Stretch{gate, 0}, Stretch{up, 0}))
      return gatedBlock<Activation, BF16>(of(dGate), of(dUp), of(dy), of(gate), of(up), count);
    Buffer dGateBuffer, dUpBuffer, dyBuffer, gateBuffer, upBuffer;
    float* toGate = target(dGate, from, count, dGateBuffer, false);
    float* toUp = target(dUp, from, count, dUpBuffer, false);
    const float *d = read(dy, from, count, dyBuffer), *g = read(gate, from, count, gateBuffer);
    gatedBlock<Activation>(toGate, toUp, d, g, read(up, from, count, upBuffer), count);
    write(dGate, from, count, toGate);
    write(dUp, from, count, toUp);
  });
}

}  // namespace GRAFT_ISA
}  // namespace graft
