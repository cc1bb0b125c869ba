// Rotary position embedding (Su et al., arXiv:2104.09864) in Hugging Face's half rotation.
// graft-isa: scalar avx2 avx512 neon
//
//   ropeTable   angle = position(rowKeys[t, 1]) · f_i       table f32 [tokens, headDim], f f32 [headDim / 2]
//               table[t, i] = cos · scale, table[t, half + i] = sin · scale
//   rope        y_i (+)= x_i c_i − x_{i+half} s_i           x, y [tokens, heads · headDim]; y may be x
//               y_{i+half} (+)= x_{i+half} c_i + x_i s_i    inverse: s → −s
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

static void ropeTable(const Call& call) {
  float* table = call[0].as<float>();
  const int32_t* keys = call[1].as<int32_t>();
  const float* frequencies = call[2].as<float>();
  const int64_t half = call[2].size(), tokens = call[0].rows();
  const double scale = call.params[0];
  // Some 50 elements' worth of work each.
  eachRow(call.pool, tokens, half * 50, [&](int64_t t) {
    const float position = float(keys[2 * t + 1]);
    float* row = table + t * 2 * half;
    for (int64_t i = 0; i < half; i++) {
      const float angle = position * frequencies[i];
      row[i] = float(__builtin_cos(double(angle)) * scale);
      row[half + i] = float(__builtin_sin(double(angle)) * scale);
    }
  });
}

/** One head: y and x are its headDim elements. */
template <class Y, class X>
GRAFT_INLINE void rotate(Y* y, const X* x, const float* table, int64_t half, float sign, bool accumulate) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const F32 low = load(x + i), high = load(x + half + i), c = load(table + i), s = sign * load(table + half + i);
    F32 toLow = low * c - high * s, toHigh = high * c + low * s;
    if (accumulate) {
      toLow += load(y + i);
      toHigh += load(y + half + i);
    }
    store(y + i, toLow);
    store(y + half + i, toHigh);
  }
  for (; i < half; i++) {
    const float low = widen(x[i]), high = widen(x[half + i]), c = table[i], s = sign * table[half + i];
    float toLow = low * c - high * s, toHigh = high * c + low * s;
    if (accumulate) {
      toLow += widen(y[i]);
      toHigh += widen(y[half + i]);
    }
    narrow(toLow, y + i);
    narrow(toHigh, y + half + i);
  }
}

template <class Y, class X>
static void rotateRows(const Call& call) {
  Y* y = call[0].as<Y>();
  const X* x = call[1].as<X>();
  const float* table = call[2].as<float>();
  const int64_t heads = int64_t(call.params[0]), tokens = call[1].rows(), headDim = int64_t(call.params[1]), half = headDim / 2;
  const float sign = call.params[2] != 0 ? -1.0f : 1.0f;
  const bool accumulate = call.params[3] != 0;
  eachRow(call.pool, tokens, heads * headDim, [&](int64_t t) {
    for (int64_t h = 0; h < heads; h++) {
      const int64_t at = (t * heads + h) * headDim;
      rotate(y + at, x + at, table + t * headDim, half, sign, accumulate);
    }
  });
}

static void rope(const Call& call) {
  const bool y16 = call[0].dtype == DType::bf16, x16 = call[1].dtype == DType::bf16;
  if (y16 && x16) rotateRows<BF16, BF16>(call);
  else if (y16) rotateRows<BF16, float>(call);
  else if (x16) rotateRows<float, BF16>(call);
  else rotateRows<float, float>(call);
}

void register_rope(Registry& registry) {
  registry.add("ropeTable", {"scale"}, ropeTable);
  registry.add("rope", {"heads", "headDim", "inverse", "accumulate"}, rope);
}

}  // namespace GRAFT_ISA
}  // namespace graft
