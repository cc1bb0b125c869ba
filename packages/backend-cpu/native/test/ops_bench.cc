// Speed of the kernels beside GEMM: attention in GFLOP/s against the register-only peak of its products, the others in GB/s against a
// copy, all measured in the same run: ops_bench [threads] [part of a name] [columns of a row]. Best of several rounds, f32 and bf16.
#include "harness.h"

#include <graft/gemm_tile.h>

#include <ctime>

#define GRAFT_FAMILIES(each) \
  each(elementwise) each(rmsNorm) each(rope) each(attention) each(attentionBackward) each(swiglu) each(geglu) each(dropout) \
  each(crossEntropy) each(takenRows) each(reduction) each(embedding) each(adamW) each(dora)

namespace graft {
namespace GRAFT_ISA {
#define GRAFT_DECLARE(name) void register_##name(Registry&);
GRAFT_FAMILIES(GRAFT_DECLARE)
}  // namespace GRAFT_ISA
}  // namespace graft

using namespace test;
using namespace graft::GRAFT_ISA;

static int threads = 1;
static std::string only;

/** One thread's processor time, so that what else runs on the machine counts little; of several threads the clock's. */
static double seconds() {
  timespec now;
  clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}
/** Shortest of the runs that fit in about half a second, at least four. */
static double best(const std::function<void()>& f) {
  double least = INFINITY;
  const double begin = seconds();
  for (int i = 0; i < 4 || (seconds() - begin < 0.5 && i < 1000); i++) {
    const double start = seconds();
    f();
    least = std::min(least, seconds() - start);
  }
  return least;
}
static void onAllThreads(const std::function<void()>& f) {
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back(f);
  f();
  for (auto& thread : others) thread.join();
}

/** Independent chains of multiply-adds in registers, of floats or of pairs of bf16, GFLOP/s. */
template <class Kind>
static double peak() {
  constexpr int chains = kLanes == 8 ? 12 : 24, rounds = 1000000;
  return threads * 2e-9 * Kind::perElement * chains * kLanes * rounds / best([]() {
    onAllThreads([]() {
      F32 sums[chains];
      for (int c = 0; c < chains; c++) sums[c] = splat(float(c));
      auto factor = bitsAs<typename Kind::Vector>(splat(0.5f));
      for (int i = 0; i < rounds; i++) {
        asm volatile("" : "+v"(factor));
#pragma GCC unroll 24
        for (int c = 0; c < chains; c++) sums[c] = Kind::step(factor, factor, sums[c]);
      }
      for (int c = 0; c < chains; c++) asm volatile("" : "+v"(sums[c]));
    });
  });
}

/** memcpy of 64 MiB, bytes read and written, GB/s. */
static double copyRate() {
  constexpr size_t bytes = size_t{64} << 20;
  std::vector<char> from(bytes, 1), to(bytes, 2);
  return 2e-9 * double(bytes) / best([&]() {
    poolOf(threads).pool.parallel(threads, [&](int64_t i, int) {
      const size_t part = bytes / size_t(threads);
      std::memcpy(to.data() + size_t(i) * part, from.data() + size_t(i) * part, part);
    });
  });
}

static double peakOfFloats, peakOfPairs, bandwidth;

static void memoryBound(const char* name, const char* label, std::vector<Tensor> operands, const Params& params, double bytes, size_t workspace = 0) {
  if (!only.empty() && std::string(name).find(only) == std::string::npos) return;
  const double time = best([&]() { runOnce(name, operands, params, workspace, threads); });
  std::printf("%-22s %-28s %8.2f ms %7.1f GB/s %5.0f %% of copy\n", name, label, time * 1e3, bytes / time / 1e9, 100 * bytes / time / 1e9 / bandwidth);
}

static Tensor random32(std::vector<int64_t> shape, DType dtype) {
  Tensor t(dtype, shape);
  uint32_t state = 1;
  for (int64_t i = 0; i < t.size(); i++) {
    state = state * 1664525u + 1013904223u;
    const float x = float(int32_t(state)) * 0x1p-31f;
    if (dtype == DType::f32) t.operand.as<float>()[i] = x;
    else narrow(x, t.operand.as<BF16>() + i);
  }
  return t;
}

static void benchAttention(int64_t heads, int64_t kvHeads, int64_t headDim, int64_t batch, int64_t queries, int64_t keys, DType dtype) {
  char label[100];
  std::snprintf(label, sizeof label, "attention %lld/%lld heads of %lld, %lld x %lld of %lld, %s", (long long)heads, (long long)kvHeads, (long long)headDim, (long long)batch, (long long)queries, (long long)keys, dtype == DType::f32 ? "f32" : "bf16");
  if (!only.empty() && std::string(label).find(only) == std::string::npos) return;
  const int64_t tokens = batch * queries, n = heads * headDim;
  Tensor q = random32({tokens, n}, dtype), k = random32({batch * keys, kvHeads * headDim}, dtype), v = random32({batch * keys, kvHeads * headDim}, dtype);
  Tensor out(dtype, {tokens, n}), lse(DType::f32, {tokens, heads}), segments(DType::i32, {batch, 4});
  for (int64_t b = 0; b < batch; b++) {
    const double row[4]{double(b * queries), double(queries), double(b * keys), double(keys)};
    for (int i = 0; i < 4; i++) segments.set(4 * b + i, row[i]);
  }
  const Params params{{"heads", double(heads)}, {"kvHeads", double(kvHeads)}, {"headDim", double(headDim)}, {"scale", 1 / std::sqrt(double(headDim))}, {"window", 0}, {"softCap", 0}};
  // Pairs of a query and a key that it sees; two products of 2 · headDim operations each, five in the backward pass.
  const double pairs = double(batch) * double(heads) * (double(queries) * double(keys - queries) + 0.5 * double(queries) * double(queries + 1));
  const double peakRate = dtype == DType::bf16 ? peakOfPairs : peakOfFloats;
  const double time = best([&]() { runOnce("attention", {out, lse, q, k, v, segments}, params, 0, threads); });
  const double rate = 4 * double(headDim) * pairs / time / 1e9, streamed = double(k.bytes() + v.bytes()) / time / 1e9;
  std::printf("%-52s forward %8.2f ms %6.1f GFLOP/s %3.0f %% of peak", label, time * 1e3, rate, 100 * rate / peakRate);
  if (queries == 1) {
    std::printf(", k and v at %.1f GB/s\n", streamed);
    return;
  }
  Tensor dout = random32({tokens, n}, dtype), dq(dtype, q.shape), dk(dtype, k.shape), dv(dtype, v.shape);
  const double back = best([&]() { runOnce("attentionBackward", {dq, dk, dv, dout, out, lse, q, k, v, segments}, params, size_t(tokens * heads + 2 * batch * keys), threads); });
  const double backRate = 10 * double(headDim) * pairs / back / 1e9;
  std::printf(", backward %8.2f ms %6.1f GFLOP/s %3.0f %%\n", back * 1e3, backRate, 100 * backRate / peakRate);
}

int main(int argc, char** argv) {
  threads = argc > 1 ? std::atoi(argv[1]) : 1;
  only = argc > 2 ? argv[2] : "";
  const int64_t hidden = argc > 3 ? std::atoll(argv[3]) : 4096;
#define GRAFT_REGISTER(name) graft::GRAFT_ISA::register_##name(registry);
  GRAFT_FAMILIES(GRAFT_REGISTER)
  peakOfFloats = peak<panels::Singles>(), peakOfPairs = panels::multipliesPairs ? peak<panels::Pairs>() : peakOfFloats;
  bandwidth = copyRate();
  std::printf("%d thread%s: peak %.1f GFLOP/s, of bf16 %.1f, copy %.1f GB/s\n", threads, threads > 1 ? "s" : "", peakOfFloats, peakOfPairs, bandwidth);

  for (DType dtype : {DType::f32, DType::bf16}) {
    benchAttention(9, 3, 64, 4, 512, 512, dtype);
    benchAttention(32, 32, 128, 1, 512, 512, dtype);
    benchAttention(32, 8, 128, 1, 2048, 2048, dtype);
    benchAttention(32, 32, 128, 1, 4096, 4096, dtype);
    benchAttention(4, 4, 80, 1, 1024, 1024, dtype);
    benchAttention(4, 4, 20, 1, 1024, 1024, dtype);
    benchAttention(9, 3, 64, 1, 1, 4096, dtype);
    benchAttention(32, 32, 128, 1, 1, 4096, dtype);
    benchAttention(32, 8, 128, 1, 1, 4096, dtype);
  }
  for (DType dtype : {DType::f32, DType::bf16}) {
    const int64_t tokens = 2048, n = tokens * hidden;
    const double size = double(n) * double(graft::bytesOf(dtype));
    const char* type = dtype == DType::f32 ? "f32" : "bf16";
    const Tensor a = random32({tokens, hidden}, dtype), b = random32({tokens, hidden}, dtype), c = random32({tokens, hidden}, dtype), d = random32({tokens, hidden}, dtype), e = random32({tokens, hidden}, dtype);
    const Tensor w = random32({hidden}, DType::f32), norm = random32({hidden}, DType::f32), rows = random32({tokens}, DType::f32), one = random32({1}, DType::f32);
    Tensor keys(DType::i32, {tokens, 2}), ids(DType::i32, {tokens});
    for (int64_t t = 0; t < tokens; t++) keys.set(2 * t, 0), keys.set(2 * t + 1, double(t)), ids.set(t, double(t * 7919 % 32000));
    const Tensor table = random32({tokens, 64}, DType::f32);
    memoryBound("add", type, {a, b, c}, {{"scale", 1}}, 3 * size);
    memoryBound("addScaled", type, {a, b}, {{"width", double(hidden)}, {"rows", double(tokens)}, {"outRow", 0}, {"xRow", 0}, {"scale", 0.5}, {"accumulate", 1}}, 3 * size);
    memoryBound("scaleRows", type, {a, b, rows}, {{"accumulate", 0}}, 2 * size);
    memoryBound("broadcast", type, {a, one}, {{"scale", 1}, {"accumulate", 0}}, size);
    memoryBound("rmsNorm", type, {a, b, w}, {{"epsilon", 1e-5}}, 2 * size);
    memoryBound("rmsNormBackwardX", type, {a, b, c, w}, {{"epsilon", 1e-5}, {"accumulate", 0}}, 3 * size);
    memoryBound("rmsNormBackwardW", type, {w, b, c}, {{"epsilon", 1e-5}, {"accumulate", 0}}, 2 * size, size_t(tokens / 64 * hidden));
    memoryBound("rope", type, {a, a, table}, {{"heads", double(hidden / 64)}, {"headDim", 64}, {"inverse", 0}, {"accumulate", 0}}, 2 * size);
    memoryBound("swiglu", type, {a, b, c}, {}, 3 * size);
    memoryBound("swigluBackward", type, {a, b, c, d, e}, {}, 5 * size);
    memoryBound("swigluBackwardWithY", type, {a, b, c, c, d, e}, {}, 6 * size);
    memoryBound("geglu", type, {a, b, c}, {}, 3 * size);
    memoryBound("gegluBackward", type, {a, b, c, d, e}, {}, 5 * size);
    memoryBound("dropout", type, {a, b, keys}, {{"rate", 0.1}, {"seed", 1}, {"step", 1}, {"site", 1}, {"width", double(hidden)}, {"rows", double(tokens)}, {"outRow", 0}, {"xRow", 0}, {"keyRow", 0}, {"accumulate", 0}}, 2 * size);
    memoryBound("sum", type, {one, b}, {{"scale", 1}, {"accumulate", 0}}, size);
    memoryBound("scaleColumns", type, {a, b, w, norm}, {{"accumulate", 0}}, 2 * size);
    memoryBound("scaleColumnsBackwardM", type, {w, a, b, norm}, {{"accumulate", 0}}, 2 * size);
    memoryBound("gatherGradient", type, {random32({32000, 576}, DType::f32), random32({tokens, 576}, dtype), ids}, {{"accumulate", 1}}, double(tokens) * 576 * (8 + double(graft::bytesOf(dtype))));
    const int64_t vocab = 49152, chunk = 256;
    const Tensor logits = random32({chunk, vocab}, dtype), losses = random32({chunk}, DType::f32);
    memoryBound("crossEntropyRows", dtype == DType::f32 ? "f32, loss alone" : "bf16, loss alone", {losses, logits, ids}, {{"row0", 0}, {"rows", double(chunk)}, {"vocab", double(vocab)}, {"gradient", 0}, {"softCap", 0}, {"smoothing", 0}}, double(logits.bytes()));
    memoryBound("crossEntropyRows", dtype == DType::f32 ? "f32, and gradient" : "bf16, and gradient", {losses, logits, ids}, {{"row0", 0}, {"rows", double(chunk)}, {"vocab", double(vocab)}, {"gradient", 1}, {"softCap", 0}, {"smoothing", 0}}, 3 * double(logits.bytes()));
    if (dtype == DType::bf16) continue;
    const Tensor control = filled(DType::f32, {4}, {1, 1, 3, 1}), partials = random32({4}, DType::f32);
    memoryBound("sumSquares", type, {partials, b}, {{"slot", 0}}, size);
    memoryBound("adamW", type, {a, b, c, d, control}, {{"learningRate", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}, {"weightDecay", 0.01}}, 7 * size);
    memoryBound("ropeTable", "bytes written", {table, keys, random32({32}, DType::f32)}, {{"scale", 1}}, double(table.bytes()));
    memoryBound("doraNorm", "4096 rows, rank 16", {norm, w, random32({4096, 16}, DType::f32), random32({16, 4096}, DType::f32), random32({16, 16}, DType::f32)}, {{"scale", 1}}, 4096.0 * 34 * 4);
  }
}
