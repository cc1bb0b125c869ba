// A gated unit and its gradients, element by element, for an activation a(x) = x · σ(v(x)): swiglu.cc and geglu.cc say which.
//
//   y = gate · s · up,  s = σ(v(gate))                   all operands of one size
//   dGate = dy · up · s · (1 + gate · (1 − s) · v′(gate))
//   dUp = dy · gate · s                                   and y once more, where it is asked for
//
// The outputs may be any of the inputs: what is written has been read. An Activation has `share(x)` = s, and
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

/** Where what a gated unit's backward pass makes goes; `y` as well, or none. */
template <class T>
struct GatedOutputs {
  T *dGate, *dUp, *y;
};

/** Both gradients of one vector of elements, and y, so that the share is computed once. */
template <class Activation>
GRAFT_INLINE void gatedGradients(F32 d, F32 gate, F32 up, F32& dGate, F32& dUp, F32& y) {
  const F32 s = Activation::share(gate);
  dUp = d * gate * s;
  dGate = d * up * s * (1.0f + Activation::bend(gate, gate * (1.0f - s)));
  y = gate * s * up;
}

/** All of `together` vectors from element i on; their chains of arithmetic are long, and several fill the units. */
template <class Activation, bool withY, int together, class T>
GRAFT_INLINE void gatedVectors(const GatedOutputs<T>& to, const T* dy, const T* gate, const T* up, int64_t i) {
  F32 forGate[together], forUp[together], forY[together];
#pragma GCC unroll 4
  for (int v = 0; v < together; v++) {
    const int64_t at = i + v * kLanes;
    gatedGradients<Activation>(load(dy + at), load(gate + at), load(up + at), forGate[v], forUp[v], forY[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < together; v++) {
    const int64_t at = i + v * kLanes;
    store(to.dGate + at, forGate[v]);
    store(to.dUp + at, forUp[v]);
    if constexpr (withY) store(to.y + at, forY[v]);
  }
}

/** A block of them, from and to memory of any type. */
template <class Activation, bool withY, class T>
GRAFT_INLINE void gatedBlock(const GatedOutputs<T>& to, const T* dy, const T* gate, const T* up, int64_t count) {
  constexpr int together = 4;
  int64_t i = 0;
  for (; i + together * kLanes <= count; i += together * kLanes) gatedVectors<Activation, withY, together>(to, dy, gate, up, i);
  for (; i + kLanes <= count; i += kLanes) gatedVectors<Activation, withY, 1>(to, dy, gate, up, i);
  if (const int64_t rest = count - i; rest > 0) {
    F32 forGate, forUp, forY;
    gatedGradients<Activation>(loadPart(dy + i, rest), loadPart(gate + i, rest), loadPart(up + i, rest), forGate, forUp, forY);
    storePart(to.dGate + i, forGate, rest);
    storePart(to.dUp + i, forUp, rest);
    if constexpr (withY) storePart(to.y + i, forY, rest);
  }
}

template <class Activation, bool withY>
static void gatedBackward(const Call& call) {
  const Operand &dGate = call[0], &dUp = call[1], &y = call[withY ? 2 : 0];
  const Operand &dy = call[withY ? 3 : 2], &gate = call[withY ? 4 : 3], &up = call[withY ? 5 : 4];
  eachBlock(call.pool, dy.size(), [&](int64_t from, int64_t count) {
    const auto of = [&](const Operand& x) { return x.as<BF16>() + from; };
    if (allBF16(Stretch{dGate, 0}, Stretch{dUp, 0}, Stretch{y, 0}, Stretch{dy, 0}, Stretch{gate, 0}, Stretch{up, 0}))
      return gatedBlock<Activation, withY, BF16>({of(dGate), of(dUp), of(y)}, of(dy), of(gate), of(up), count);
    Buffer dGateBuffer, dUpBuffer, yBuffer, dyBuffer, gateBuffer, upBuffer;
    const GatedOutputs<float> to{target(dGate, from, count, dGateBuffer, false), target(dUp, from, count, dUpBuffer, false),
                                 withY ? target(y, from, count, yBuffer, false) : nullptr};
    const float *d = read(dy, from, count, dyBuffer), *g = read(gate, from, count, gateBuffer);
    gatedBlock<Activation, withY>(to, d, g, read(up, from, count, upBuffer), count);
    write(dGate, from, count, to.dGate);
    write(dUp, from, count, to.dUp);
    if (withY) write(y, from, count, to.y);
  });
}

}  // namespace GRAFT_ISA
}  // namespace graft
