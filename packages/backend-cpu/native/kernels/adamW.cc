// AdamW (Loshchilov and Hutter, arXiv:1711.05101) in the order of operations of torch.optim.AdamW(foreach=False).
// graft-isa: scalar avx2 avx512 neon
//
//   control f32 [4] = (coefficient, finite, applied steps t, norm): made by clipControl; nothing happens unless finite
//   g' = g · coefficient                                   w, m, v, g f32 of one size; w, m, v in place
//   w ← w · (1 − lr · decay)
//   m ← fma(1 − β1, g' − m, m)
//   v ← fma((1 − β2) · g', g', v · β2)
//   w ← w − (lr / (1 − β1^t)) · m / (√v / √(1 − β2^t) + ε)
//
// Each line is f32; factors that don't depend on the element are made in double and rounded once. The two fused places are
// those of torch's x86 builds (lerp and addcmul): m and v come out with torch's bits, w but for the last place of the
// square root, which torch takes from MKL.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

/** a · b + c rounded once, for the scalar set too: the product of two floats is exact in double. */
GRAFT_INLINE F32 fused(F32 a, F32 b, F32 c) {
#if GRAFT_SCALAR
  return float(double(a) * b + c);
#else
  return fma(a, b, c);
#endif
}

static void adamW(const Call& call) {
  const float* control = call[4].as<float>();
  if (control[1] == 0) return;
  const double rate = call.params[0], beta1 = call.params[1], beta2 = call.params[2], steps = control[2];
  const float coefficient = control[0], keep = float(1 - rate * call.params[4]);
  const float forM = float(1 - beta1), decayV = float(beta2), forV = float(1 - beta2), epsilon = float(call.params[3]);
  const float step = float(-(rate / (1 - __builtin_pow(beta1, steps))));
  const float correction = float(__builtin_sqrt(1 - __builtin_pow(beta2, steps)));
  float *w = call[0].as<float>(), *m = call[1].as<float>(), *v = call[2].as<float>();
  const float* g = call[3].as<float>();

  const auto update = [&](F32& weight, F32& mean, F32& square, F32 gradient) {
    gradient = gradient * coefficient;
    weight = weight * keep;
    mean = fused(splat(forM), gradient - mean, mean);
    square = fused(forV * gradient, gradient, square * decayV);
    weight = weight + step * mean / (squareRoot(square) / correction + epsilon);
  };
  eachBlock(call.pool, call[0].size(), [&](int64_t from, int64_t count) {
    const int64_t end = from + count;
    int64_t i = from;
    for (; i + kLanes <= end; i += kLanes) {
      F32 weight = load(w + i), mean = load(m + i), square = load(v + i);
      update(weight, mean, square, load(g + i));
      store(w + i, weight);
      store(m + i, mean);
      store(v + i, square);
    }
    if (const int64_t rest = end - i; rest > 0) {
      F32 weight = loadPart(w + i, rest), mean = loadPart(m + i, rest), square = loadPart(v + i, rest);
      update(weight, mean, square, loadPart(g + i, rest));
      storePart(w + i, weight, rest);
      storePart(m + i, mean, rest);
      storePart(v + i, square, rest);
    }
  });
}

void register_adamW(Registry& registry) {
  registry.add("adamW", {"learningRate", "beta1", "beta2", "epsilon", "weightDecay"}, adamW);
}

}  // namespace GRAFT_ISA
}  // namespace graft
