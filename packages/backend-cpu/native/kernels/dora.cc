// DoRA's column scaling and the norms of the adapted rows (Liu et al., arXiv:2402.09353 §4), without a dense copy of W.
// graft-isa: scalar avx2 avx512 neon
//
//   scaleColumns           y (+)= x · m / norm               x, y [tokens, n], m, norm f32 [n]
//   scaleColumnsBackwardM  dm[o] (+)= Σ_t dy · x / norm[o]   dm f32 [n]
//   doraNorm               norm[o] = sqrt(max(0, w2[o] + 2s · Σ_i b[o,i] · aw[i,o] + s² · Σ_ij b[o,i] · aa[i,j] · b[o,j]))
//                          norm, w2 f32 [out], b f32 [out, r], aw [r, out] = A Wᵀ, aa f32 [r, r] = A Aᵀ
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

static void scaleColumns(const Call& call) {
  const Operand &y = call[0], &x = call[1];
  const float *m = call[2].as<float>(), *norm = call[3].as<float>();
  const bool accumulate = call.params[0] != 0;
  const int64_t n = call[2].size(), rows = n > 0 ? x.size() / n : 0;
  eachRow(call.pool, rows, n, [&](int64_t row) {
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t from = row * n + column, count = smaller(kBlock, n - column);
      Buffer yBuffer, xBuffer;
      const float* values = read(x, from, count, xBuffer);
      float* to = target(y, from, count, yBuffer, accumulate);
      mapInto(to, count, accumulate, [](F32 v, F32 gain, F32 length) { return v * gain / length; }, values, m + column, norm + column);
      write(y, from, count, to);
    }
  });
}

constexpr int64_t kColumnsTogether = 256;
/** Rows summed in f32 before they go to the f64 total. */
constexpr int64_t kRowsTogether = 64;

static void scaleColumnsBackwardM(const Call& call) {
  const Operand &dy = call[1], &x = call[2];
  float* dm = call[0].as<float>();
  const float* norm = call[3].as<float>();
  const bool accumulate = call.params[0] != 0;
  const int64_t n = call[0].size(), rows = n > 0 ? x.size() / n : 0;
  call.pool.parallel(ceilDiv(n, kColumnsTogether), [&](int64_t task, int) {
    const int64_t column = task * kColumnsTogether, count = smaller(kColumnsTogether, n - column);
    double total[kColumnsTogether] = {};
    for (int64_t first = 0; first < rows; first += kRowsTogether) {
      Buffer partial, dyBuffer, xBuffer;
      const int64_t end = smaller(rows, first + kRowsTogether);
      for (int64_t row = first; row < end; row++) {
        const float *d = read(dy, row * n + column, count, dyBuffer), *values = read(x, row * n + column, count, xBuffer);
        mapInto(partial.data, count, row > first, [](F32 e, F32 v) { return e * v; }, d, values);
      }
      for (int64_t i = 0; i < count; i++) total[i] += partial.data[i];
    }
    for (int64_t i = 0; i < count; i++) {
      const double sum = total[i] / norm[column + i];
      dm[column + i] = float(accumulate ? dm[column + i] + sum : sum);
    }
  });
}

static void doraNorm(const Call& call) {
  float* norm = call[0].as<float>();
  const float *w2 = call[1].as<float>(), *b = call[2].as<float>(), *aa = call[4].as<float>();
  const Operand& aw = call[3];
  const double s = call.params[0];
  const int64_t out = call[0].size(), r = call[4].rows();
  const int64_t together = larger<int64_t>(1, smaller(kBlock, kGrain / larger<int64_t>(1, r * r)));
  call.pool.parallel(ceilDiv(out, together), [&](int64_t task, int) {
    const int64_t first = task * together, count = smaller(together, out - first);
    double cross[kBlock] = {};  // Σ_i b[o,i] · aw[i,o]
    for (int64_t i = 0; i < r; i++) {
      Buffer buffer;
      const float* row = read(aw, i * out + first, count, buffer);
      for (int64_t o = 0; o < count; o++) cross[o] += double(b[(first + o) * r + i]) * row[o];
    }
    for (int64_t o = 0; o < count; o++) {
      const float* row = b + (first + o) * r;
      double square = 0;  // Σ_ij b_i · aa_ij · b_j
      for (int64_t i = 0; i < r; i++)
        square += double(row[i]) * mapSum(r, [](F32 x, F32 y) { return x * y; }, aa + i * r, row);
      const double total = w2[first + o] + 2 * s * cross[o] + s * s * square;
      norm[first + o] = float(__builtin_sqrt(total < 0 ? 0 : total));  // rounding may leave it below 0; NaN stays NaN
    }
  });
}

void register_dora(Registry& registry) {
  registry.add("scaleColumns", {"accumulate"}, scaleColumns);
  registry.add("scaleColumnsBackwardM", {"accumulate"}, scaleColumnsBackwardM);
  registry.add("doraNorm", {"scale"}, doraNorm);
}

}  // namespace GRAFT_ISA
}  // namespace graft
