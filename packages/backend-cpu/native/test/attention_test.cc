// Attention and its backward pass against the formulas in double: odd head sizes, grouped queries, packed segments, keys
// that come before the queries (a KV cache), rows that no segment names; and the gradient by finite differences.
#include "harness.h"

#include <graft/gemm_vector.h>

namespace test {

using Doubles = std::vector<double>;

struct Shape {
  int64_t heads, kvHeads, headDim, tokens, keys;
  std::vector<int32_t> segments;  // four numbers each
  double scale;
  int64_t window = 0;
  double softCap = 0;
};

/** visit(token, head, first key seen, keys seen) */
static void eachQuery(const Shape& s, const std::function<void(int64_t, int64_t, int64_t, int64_t)>& visit) {
  for (size_t i = 0; i + 3 < s.segments.size(); i += 4)
    for (int64_t query = 0; query < s.segments[i + 1]; query++)
      for (int64_t h = 0; h < s.heads; h++)
      {
        const int64_t past = std::max<int64_t>(0, s.segments[i + 3] - s.segments[i + 1] + query + 1);
        const int64_t seen = s.window > 0 ? std::min(past, s.window) : past;
        visit(s.segments[i] + query, h, s.segments[i + 2] + past - seen, seen);
      }
}

/**
 * Weights and ds are rounded to bf16 where pairs are multiplied, by 2^-8 of each at most: what that may move a sum by is
 * the same sum of magnitudes, times as much. The slacks are that; operands that are f32 leave none.
 */
constexpr double kRounding = 0x1p-8;
#if GRAFT_SCALAR
constexpr bool multipliesPairs = false;
#else
constexpr bool multipliesPairs = graft::GRAFT_ISA::panels::multipliesPairs;
#endif

struct Result {
  Doubles out, lse, slack;
};

static Result attend(const Shape& s, const Doubles& q, const Doubles& k, const Doubles& v) {
  const size_t size = size_t(s.tokens * s.heads * s.headDim);
  Result result{Doubles(size), Doubles(size_t(s.tokens * s.heads)), Doubles(size)};
  eachQuery(s, [&](int64_t t, int64_t h, int64_t key, int64_t keys) {
    if (keys == 0) return;
    const int64_t own = (t * s.heads + h) * s.headDim, kv = h * s.kvHeads / s.heads;
    const auto at = [&](int64_t j) { return ((key + j) * s.kvHeads + kv) * s.headDim; };
    Doubles scores;
    for (int64_t j = 0; j < keys; j++) {
      double score = 0;
      for (int64_t i = 0; i < s.headDim; i++) score += q[size_t(own + i)] * k[size_t(at(j) + i)];
      scores.push_back(s.softCap > 0 ? s.softCap * std::tanh(score * s.scale / s.softCap) : score * s.scale);
    }
    double top = -INFINITY, total = 0;
    for (double x : scores) top = std::max(top, x);
    for (double x : scores) total += std::exp(x - top);
    result.lse[size_t(t * s.heads + h)] = top + std::log(total);
    for (int64_t j = 0; j < keys; j++)
      for (int64_t i = 0; i < s.headDim; i++) {
        const double part = std::exp(scores[size_t(j)] - top) / total * v[size_t(at(j) + i)];
        result.out[size_t(own + i)] += part, result.slack[size_t(own + i)] += kRounding * std::fabs(part);
      }
    // The sum of the rounded weights, by which they are divided, is off by as much as they are at most.
    for (int64_t i = 0; i < s.headDim; i++) result.slack[size_t(own + i)] += kRounding * std::fabs(result.out[size_t(own + i)]);
  });
  return result;
}

struct Gradients {
  Doubles q, k, v, slackQ = Doubles(q.size()), slackK = Doubles(k.size()), slackV = Doubles(v.size());
};

static Gradients gradientsOf(const Shape& s, const Doubles& q, const Doubles& k, const Doubles& v, const Result& r, const Doubles& dout) {
  Gradients d{Doubles(q.size()), Doubles(k.size()), Doubles(v.size())};
  eachQuery(s, [&](int64_t t, int64_t h, int64_t key, int64_t keys) {
    const size_t own = size_t((t * s.heads + h) * s.headDim), n = size_t(s.headDim);
    double delta = 0;
    for (size_t i = 0; i < n; i++) delta += dout[own + i] * r.out[own + i];
    for (int64_t j = 0; j < keys; j++) {
      const size_t at = size_t(((key + j) * s.kvHeads + h * s.kvHeads / s.heads) * s.headDim);
      double score = 0, product = 0;
      for (size_t i = 0; i < n; i++) score += q[own + i] * k[at + i], product += dout[own + i] * v[at + i];
      const double bent = s.softCap > 0 ? std::tanh(score * s.scale / s.softCap) : 0;
      const double p = std::exp((s.softCap > 0 ? s.softCap * bent : score * s.scale) - r.lse[size_t(t * s.heads + h)]);
      const double ds = p * (product - delta) * s.scale * (1 - bent * bent);
      const auto add = [](double& sum, double& slack, double part) { sum += part, slack += kRounding * std::fabs(part); };
      for (size_t i = 0; i < n; i++) {
        add(d.q[own + i], d.slackQ[own + i], ds * k[at + i]);
        add(d.k[at + i], d.slackK[at + i], ds * q[own + i]);
        add(d.v[at + i], d.slackV[at + i], p * dout[own + i]);
      }
    }
  });
  return d;
}

static Tensor segmentsOf(const Shape& s) {
  Tensor t(DType::i32, {int64_t(s.segments.size() / 4), 4});
  for (size_t i = 0; i < s.segments.size(); i++) t.set(int64_t(i), s.segments[i]);
  return t;
}
static Params paramsOf(const Shape& s) {
  return {{"heads", double(s.heads)}, {"kvHeads", double(s.kvHeads)}, {"headDim", double(s.headDim)}, {"scale", s.scale}, {"window", double(s.window)}, {"softCap", s.softCap}};
}

/** Outputs of forward and backward for comparison by bits. */
struct Run {
  Tensor out, lse, dq, dk, dv;
};

static Run testShape(const std::string& name, const Shape& s, int mix, double spread = 1, bool backward = true) {
  const std::vector<int64_t> queryShape{s.tokens, s.heads * s.headDim}, keyShape{s.keys, s.kvHeads * s.headDim};
  Tensor q = randomTensor(mixed(mix, 0), queryShape, spread), k = randomTensor(mixed(mix, 1), keyShape, spread), v = randomTensor(mixed(mix, 2), keyShape);
  Tensor out(mixed(mix, 3), queryShape), lse(DType::f32, {s.tokens, s.heads}), segments = segmentsOf(s);
  std::vector<Tensor> forward{out, lse, q, k, v, segments};
  run("attention", forward, paramsOf(s));
  const Result wanted = attend(s, q.values(), k.values(), v.values());
  const auto slackOf = [&](int operands, const Doubles& slack) { return multipliesPairs && (mix & operands) == operands ? slack : Doubles{}; };
  compare(name + ": out", out, wanted.out, 3e-6 * spread, 1, slackOf(0b111, wanted.slack));
  compare(name + ": lse", lse, wanted.lse, 2e-6);

  Tensor dout = randomTensor(mixed(mix, 4), queryShape), dq(mixed(mix, 0), queryShape), dk(mixed(mix, 1), keyShape), dv(mixed(mix, 2), keyShape);
  Run result{out, lse, dq, dk, dv};
  if (!backward) return result;
  // The backward pass reads `out` as it was stored; the reference too, or a bf16 `out` would count as an error.
  const Gradients d = gradientsOf(s, q.values(), k.values(), v.values(), {out.values(), lse.values(), {}}, dout.values());
  std::vector<Tensor> back{dq, dk, dv, dout, out, lse, q, k, v, segments};
  run("attentionBackward", back, paramsOf(s), size_t(s.tokens * s.heads + 2 * s.keys));
  compare(name + ": dq", dq, d.q, 1e-5 * spread, 1 + magnitude(d.q), slackOf(0b10111, d.slackQ));
  compare(name + ": dk", dk, d.k, 1e-5 * spread, 1 + magnitude(d.k), slackOf(0b10111, d.slackK));
  compare(name + ": dv", dv, d.v, 1e-5 * spread, 1 + magnitude(d.v), slackOf(0b10111, d.slackV));
  return result;
}

static Shape alone(int64_t heads, int64_t kvHeads, int64_t headDim, int64_t queries, int64_t keys) {
  return {heads, kvHeads, headDim, queries, keys, {0, int32_t(queries), 0, int32_t(keys)}, 1 / std::sqrt(double(headDim))};
}

static void testShapes() {
  for (int64_t headDim : {1, 3, 8, 20, 64, 80, 96, 128, 256})
    for (int64_t queries : {1, 2, 17, 64, 130}) {
      for (int64_t past : {0, 1, 75})
        testShape("attention d" + std::to_string(headDim) + " q" + std::to_string(queries) + " past " + std::to_string(past),
          alone(2, 1, headDim, queries, queries + past), int(headDim + queries + past) % 32);
      testShape("attention bf16 d" + std::to_string(headDim) + " q" + std::to_string(queries), alone(3, 1, headDim, queries, queries + 41), 31);
    }
  for (int mix = 0; mix < 32; mix++) testShape("attention mix " + std::to_string(mix), alone(4, 2, 16, 40, 43), mix);
  for (auto [heads, kvHeads] : {std::pair<int64_t, int64_t>{1, 1}, {6, 3}, {9, 3}, {8, 1}, {5, 3}, {7, 2}})
    for (int64_t queries : {1, 33}) testShape("attention heads " + std::to_string(heads) + "/" + std::to_string(kvHeads), alone(heads, kvHeads, 24, queries, queries + 70), 5);
  // Long enough for several tasks, and for several tiles in each.
  testShape("attention long", alone(2, 2, 32, 300, 300), 0);
  testShape("attention long, bf16", alone(3, 1, 64, 190, 520), 31);
  testShape("attention one query, many keys", alone(4, 2, 64, 1, 1500), 0);
  testShape("attention steep", alone(2, 2, 16, 70, 90), 0, 6);
  testShape("attention wide", alone(1, 1, 2100, 20, 70), 3);
  // Packed, with rows before, between and after that no segment names, segments out of order, an empty one and a short one.
  testShape("attention packed", {4, 2, 16, 300, 340, {3, 100, 5, 100, 210, 40, 200, 133, 110, 1, 110, 9, 120, 90, 125, 70, 0, 0, 0, 0}, 0.3}, 0);
  testShape("attention packed, bf16", {4, 2, 16, 300, 340, {3, 100, 5, 100, 210, 40, 200, 133, 110, 1, 110, 9, 120, 90, 125, 70}, 0.3}, 31);
  // A sliding window, narrower and wider than tiles, and a soft cap; each alone and both, with one query and many.
  for (int64_t window : {0, 1, 5, 64, 100, 1000})
    for (double softCap : {0.0, 0.7, 30.0})
      for (int64_t queries : {1, 3, 40, 330}) {
        Shape s = alone(4, 2, 24, queries, queries + 150);
        s.window = window, s.softCap = softCap;
        for (int mix : {int(window) % 32, 31})
          testShape("attention window " + std::to_string(window) + " cap " + std::to_string(softCap) + " q" + std::to_string(queries) + " mix " + std::to_string(mix), s, mix, 2);
      }
  testShape("attention window, packed, bf16", {4, 2, 16, 300, 340, {3, 100, 5, 100, 210, 40, 200, 133, 110, 1, 110, 9, 120, 90, 125, 70}, 0.3, 37, 5}, 31);
  testShape("attention window, wide", {1, 1, 2100, 20, 70, {0, 20, 0, 70}, 0.02, 9, 2}, 3);
  // Two segments that share their first keys: dk and dv of these add up.
  for (int mix : {0, 31}) testShape("attention shared keys", {3, 1, 20, 70, 150, {0, 30, 0, 100, 30, 40, 0, 60}, 0.3}, mix);
  // A segment that reaches past the tensors is as none.
  testShape("attention nothing named", {2, 1, 8, 30, 30, {}, 0.3}, 0);
  Shape outside = alone(2, 1, 8, 30, 30);
  Tensor q = randomTensor(DType::f32, {30, 16}), k = randomTensor(DType::f32, {30, 8}), out(DType::f32, {30, 16}), lse(DType::f32, {30, 2});
  std::vector<Tensor> t{out, lse, q, k, k, filled(DType::i32, {3, 4}, {0, 31, 0, 30, 0, 5, 26, 5, -1, 4, 0, 4})};
  run("attention", t, paramsOf(outside));
  compare("attention outside", out, Doubles(30 * 16), 0);
}

/** A sequence has the same bits alone and in a batch, wherever it lies there. */
static void testPackingBits(DType dtype) {
  const int64_t heads = 6, kvHeads = 2, headDim = 20, queries = 77, before = 53, width = heads * headDim, keyWidth = kvHeads * headDim;
  const std::vector<int64_t> sizes{before + queries, before + queries};
  Tensor q = randomTensor(dtype, {before + queries, width}), k = randomTensor(dtype, {before + queries, keyWidth}), v = randomTensor(dtype, {before + queries, keyWidth});
  Tensor dout = randomTensor(dtype, {before + queries, width});
  const auto tail = [&](const Tensor& t, int64_t columns) {
    Tensor part(dtype, {queries, columns});
    std::memcpy(part.operand.data, t.operand.as<char>() + size_t(before) * part.bytes() / size_t(queries), part.bytes());
    return part;
  };
  const auto compute = [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& dout, const std::vector<int32_t>& segments) {
    const Shape s{heads, kvHeads, headDim, q.shape[0], q.shape[0], segments, 0.2};
    Run r{Tensor(dtype, q.shape), Tensor(DType::f32, {q.shape[0], heads}), Tensor(dtype, q.shape), Tensor(dtype, k.shape), Tensor(dtype, k.shape)};
    std::vector<Tensor> forward{r.out, r.lse, q, k, v, segmentsOf(s)}, back{r.dq, r.dk, r.dv, dout, r.out, r.lse, q, k, v, segmentsOf(s)};
    run("attention", forward, paramsOf(s));
    run("attentionBackward", back, paramsOf(s), size_t(s.tokens * s.heads + 2 * s.keys));
    return r;
  };
  const Run packed = compute(q, k, v, dout, {0, int32_t(before), 0, int32_t(before), int32_t(before), int32_t(queries), int32_t(before), int32_t(queries)});
  const Run single = compute(tail(q, width), tail(k, keyWidth), tail(v, keyWidth), tail(dout, width), {0, int32_t(queries), 0, int32_t(queries)});
  const auto same = [&](const char* what, const Tensor& a, const Tensor& b) {
    check(std::string("packed as alone, bit by bit: ") + what, std::memcmp(a.operand.as<char>() + size_t(before) * b.bytes() / size_t(queries), b.operand.data, b.bytes()) != 0, 0);
  };
  same("out", packed.out, single.out), same("lse", packed.lse, single.lse), same("dq", packed.dq, single.dq);
  same("dk", packed.dk, single.dk), same("dv", packed.dv, single.dv);
}

/** However the work is shared, and whichever way the backward pass takes then. */
static void testThreads(DType dtype, const Shape& s, std::initializer_list<int> counts) {
  const std::vector<int64_t> queryShape{s.tokens, s.heads * s.headDim}, keyShape{s.keys, s.kvHeads * s.headDim};
  const Tensor q = randomTensor(dtype, queryShape), k = randomTensor(dtype, keyShape), v = randomTensor(dtype, keyShape), dout = randomTensor(dtype, queryShape);
  std::vector<Tensor> first;
  for (int threads : counts) {
    const Tensor out(dtype, queryShape), lse(DType::f32, {s.tokens, s.heads}), dq(dtype, queryShape), dk(dtype, keyShape), dv(dtype, keyShape), segments = segmentsOf(s);
    runOnce("attention", {out, lse, q, k, v, segments}, paramsOf(s), 0, threads);
    runOnce("attentionBackward", {dq, dk, dv, dout, out, lse, q, k, v, segments}, paramsOf(s), size_t(s.tokens * s.heads + 2 * s.keys), threads);
    const std::vector<Tensor> all{out, lse, dq, dk, dv};
    if (first.empty()) first = all;
    for (size_t i = 0; i < all.size(); i++)
      check("attention: same bits for " + std::to_string(threads) + " threads", std::memcmp(all[i].operand.data, first[i].operand.data, all[i].bytes()) != 0, 0);
  }
}

static void testDifferences(int64_t window, double softCap) {
  const Shape s{4, 2, 6, 9, 12, {0, 5, 2, 8, 5, 3, 7, 5}, 0.4, window, softCap};
  Tensor q = randomTensor(DType::f32, {s.tokens, 24}), k = randomTensor(DType::f32, {s.keys, 12}), v = randomTensor(DType::f32, {s.keys, 12}), dout = randomTensor(DType::f32, {s.tokens, 24});
  Tensor out(DType::f32, q.shape), lse(DType::f32, {s.tokens, 4}), dq(DType::f32, q.shape), dk(DType::f32, k.shape), dv(DType::f32, k.shape);
  std::vector<Tensor> forward{out, lse, q, k, v, segmentsOf(s)}, back{dq, dk, dv, dout, out, lse, q, k, v, segmentsOf(s)};
  run("attention", forward, paramsOf(s));
  run("attentionBackward", back, paramsOf(s), size_t(s.tokens * s.heads + 2 * s.keys));
  Doubles x[3]{q.values(), k.values(), v.values()};
  const Tensor* gradients[3]{&dq, &dk, &dv};
  const Doubles weights = dout.values();
  const auto loss = [&]() {
    const Doubles result = attend(s, x[0], x[1], x[2]).out;
    double total = 0;
    for (size_t i = 0; i < result.size(); i++) total += result[i] * weights[i];
    return total;
  };
  for (int which = 0; which < 3; which++) {
    Doubles slopes;
    for (double& at : x[which]) {
      const double kept = at, h = 1e-4;
      at = kept + h;
      const double above = loss();
      at = kept - h;
      slopes.push_back((above - loss()) / (2 * h));
      at = kept;
    }
    compare("attentionBackward, finite differences", *gradients[which], slopes, 1e-5);
  }
}

void testAttention() {
  testShapes();
  for (DType dtype : {DType::f32, DType::bf16}) {
    testPackingBits(dtype);
    testThreads(dtype, {6, 2, 64, 400, 420, {0, 150, 0, 170, 150, 250, 170, 250}, 0.125}, {1, 2, 3, 4, 7});
    // dq of all rows does not fit in scratch: in parts on one thread, by rows and then by keys on three.
    testThreads(dtype, {1024, 1, 8, 32, 140, {0, 32, 0, 140}, 0.3}, {1, 3});
    testThreads(dtype, {1024, 1, 8, 32, 140, {0, 32, 0, 140}, 0.3, 20, 5}, {1, 3});
  }
  testDifferences(0, 0);
  testDifferences(3, 0.8);
}

}  // namespace test
