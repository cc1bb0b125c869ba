// Matrix products against the register-only peak of the same minute. Arguments: threads, then words that select cases.
//
// Rates are per second of processor time of all threads, times the number of threads: a machine shared with other work still
// gives a usable ratio. Peak and product alternate; the best of several runs of each is kept. The wall-clock rate stands beside.
#include "harness.h"

#include <graft/gemm_product.h>

#include <condition_variable>
#include <mutex>
#include <time.h>

namespace graft {
namespace GRAFT_ISA {
void register_gemm(Registry& registry);
void register_weight(Registry& registry);
void register_dense(Registry& registry);
}  // namespace GRAFT_ISA
}  // namespace graft

using namespace test;
using namespace graft::GRAFT_ISA;
using namespace graft::GRAFT_ISA::panels;
using graft::Operand;

namespace {

double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

/**
 * A stand-in for a 4-bit codec as a plug-in would write it: codes two to a byte, the earlier in the high nibble, a scale
 * for 64 neighbours, and a reader; packing and the rest come from the headers.
 */
struct FourBitReader : ReaderOf<FourBitReader> {
  const uint8_t* codes;
  const float* scales;
  int64_t ld;
  static constexpr float table[16] = {-1.0f, -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f, -0.09105004f, 0.0f,
                                      0.07958030f, 0.16093020f, 0.24611230f, 0.33791524f, 0.44070983f, 0.56261700f, 0.72295684f, 1.0f};
  explicit FourBitReader(const graft_weight* w)
      : codes(static_cast<const uint8_t*>(w->storage[0].data)), scales(static_cast<const float*>(w->storage[1].data)), ld(w->in) {}
  GRAFT_INLINE Floats floats(int64_t row, int64_t column) const {
    const int64_t e = row * ld + column;  // a multiple of 8, as all blocks of these shapes begin and end
#if GRAFT_LANES == 8
    uint32_t packed;
    std::memcpy(&packed, codes + e / 2, 4);
    // Byte b holds elements 2b (high) and 2b + 1 (low).
    const Words index = broadcast(packed) >> Words{4, 0, 12, 8, 20, 16, 28, 24};
    const __m256i i = bitsAs<__m256i>(index);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i), high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i);
    return _mm256_blendv_ps(low, high, bitsAs<__m256>(index << 28)) * scales[e / 64];
#elif GRAFT_LANES == 16 && defined(__AVX512F__)
    uint32_t packed[2];
    std::memcpy(packed, codes + e / 2, 8);
    const __m512i word = _mm512_mask_set1_epi32(_mm512_set1_epi32(int(packed[0])), 0xff00, int(packed[1]));
    const __m512i index = _mm512_srlv_epi32(word, _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24));
    return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table)) * scales[e / 64];
#else
    Floats v;
    for (int l = 0; l < lanes; l++) v[l] = table[(codes[(e + l) / 2] >> ((e + l) % 2 ? 0 : 4)) & 15] * scales[(e + l) / 64];
    return v;
#endif
  }
  GRAFT_INLINE Floats floatsPart(int64_t row, int64_t column, int64_t count) const {
    float part[lanes] = {};
    for (int64_t l = 0, e = row * ld + column; l < count; l++, e++) part[l] = table[(codes[e / 2] >> (e % 2 ? 0 : 4)) & 15] * scales[e / 64];
    return load(part);
  }
  GRAFT_INLINE void ahead(int64_t row, int64_t column, int64_t) const { prefetch(codes + (row * ld + column) / 2); }
};
const graft_panel_source fourBit{
  sizeof(graft_panel_source), 2,
  [](const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
    copyRow(FourBitReader(w), dst, row, col0, cols);
  },
  [](const graft_weight* w, float* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0, int64_t cols, int32_t transposed) {
    packBlock<Singles>(FourBitReader(w), dst, width, row0, rows, col0, cols, transposed);
  },
  [](const graft_weight* w, uint32_t* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0, int64_t cols, int32_t transposed) {
    packBlock<Pairs>(FourBitReader(w), dst, width, row0, rows, col0, cols, transposed);
  },
  [](const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0, int64_t rows) {
    dotBlock(FourBitReader(w), y, yStride, x, xStride, tokens, row0, rows, w->in);
  },
  nullptr, nullptr, nullptr, nullptr,
  [](const graft_weight* w, const void** lines, int64_t room, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
    return linesOfRows(lines, room, static_cast<const uint8_t*>(w->storage[0].data) + (row0 * w->in + col0) / 2, w->in / 2, rows, cols / 2);
  },
  [](const graft_weight* w, float* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
    copyRows<Singles>(FourBitReader(w), dst, stride, row0, rows, col0, cols);
  },
  [](const graft_weight* w, uint16_t* dst, int64_t stride, int64_t row0, int64_t rows, int64_t col0, int64_t cols) {
    copyRows<Pairs>(FourBitReader(w), reinterpret_cast<uint32_t*>(dst), stride / 2, row0, rows, col0, cols);
  }};

/** Threads that wait between tasks, as the engine's do. */
struct Workers {
  graft::Pool pool = poolOf(1).pool;
  std::vector<unsigned char> scratch;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<int64_t> next{0};
  int64_t count = 0, generation = 0;
  int busy = 0;
  bool ending = false;
  void (*task)(void*, int64_t, int) = nullptr;
  void* context = nullptr;

  explicit Workers(int n) : scratch(size_t(n) * graft::scratchBytesPerWorker + 4096) {
    pool.threads = n;
    pool.self = this;
    pool.scratchBase = scratch.data() + (4096 - reinterpret_cast<uintptr_t>(scratch.data()) % 4096);
    pool.runParallel = [](void* self, int64_t count, void (*task)(void*, int64_t, int), void* context) {
      auto& w = *static_cast<Workers*>(self);
      {
        std::lock_guard lock(w.mutex);
        w.count = count, w.task = task, w.context = context, w.next = 0, w.busy = w.pool.threads - 1, w.generation++;
      }
      w.wake.notify_all();
      w.work(0);
      std::unique_lock lock(w.mutex);
      w.done.wait(lock, [&] { return w.busy == 0; });
    };
    for (int i = 1; i < n; i++)
      threads.emplace_back([this, i] {
        for (int64_t seen = 0;;) {
          {
            std::unique_lock lock(mutex);
            wake.wait(lock, [&] { return ending || generation != seen; });
            if (ending) return;
            seen = generation;
          }
          work(i);
          std::lock_guard lock(mutex);
          if (--busy == 0) done.notify_one();
        }
      });
  }
  void work(int worker) {
    for (int64_t i; (i = next++) < count;) task(context, i, worker);
  }
  ~Workers() {
    {
      std::lock_guard lock(mutex);
      ending = true;
    }
    wake.notify_all();
    for (auto& t : threads) t.join();
  }
};

/** Floating-point operations of a loop of nothing but fused multiply-adds (or bf16 pair products) in registers. */
template <class Kind>
double peakFlops(const graft::Pool& pool) {
  constexpr int64_t rounds = 400000;
  constexpr int chains = lanes == 8 ? 12 : 24;  // latency times two a cycle, as many as there are registers for
  pool.parallel(pool.threads, [&](int64_t, int) {
    Floats sums[chains];
    for (int c = 0; c < chains; c++) sums[c] = broadcast(float(c));
    typename Kind::Vector factor = bitsAs<typename Kind::Vector>(broadcast(0.5f));
    for (int64_t r = 0; r < rounds; r++) {
      asm volatile("" : "+v"(factor));
#pragma GCC unroll 24
      for (int c = 0; c < chains; c++) sums[c] = Kind::step(factor, factor, sums[c]);
    }
    for (int c = 0; c < chains; c++) asm volatile("" : "+v"(sums[c]));
  });
  return double(pool.threads) * rounds * chains * lanes * 2 * Kind::perElement;
}

struct Rate {
  double processor = 0, wall = 0;
  void keep(double amount, double processorSeconds, double wallSeconds, int threads) {
    processor = std::max(processor, amount * threads / processorSeconds / 1e9);
    wall = std::max(wall, amount / wallSeconds / 1e9);
  }
};
template <class Run>
void measure(Rate& rate, int threads, const Run& run) {
  const double w = seconds(CLOCK_MONOTONIC), p = seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double amount = run();
  rate.keep(amount, seconds(CLOCK_PROCESS_CPUTIME_ID) - p, seconds(CLOCK_MONOTONIC) - w, threads);
}

Tensor random(DType dtype, int64_t rows, int64_t columns) {
  Tensor t(dtype, {rows, columns});
  uint32_t state = 12345;
  for (int64_t i = 0; i < rows * columns; i++) {
    state = state * 1664525u + 1013904223u;
    const float value = float(int32_t(state)) * 0x1p-31f;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (dtype == DType::f32) t.operand.as<float>()[i] = value;
    else t.operand.as<uint16_t>()[i] = uint16_t(bits >> 16);
  }
  return t;
}

std::map<std::string, const graft::PanelSource*> sources;

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 2;
  const auto selected = [&](const std::string& name) {
    for (int i = 2; i < argc; i++)
      if (name.find(argv[i]) == std::string::npos) return false;
    return true;
  };
  graft::Registry table{registry.self, registry.addKernel, [](void*, const char* codec, const graft::PanelSource* source) { sources[codec] = source; }};
  graft::GRAFT_ISA::register_gemm(table);
  graft::GRAFT_ISA::register_weight(table);
  graft::GRAFT_ISA::register_dense(table);
  Workers workers(threads);
  graft::Pool& pool = workers.pool;

  struct Case {
    std::string name;
    int64_t m, k, n;
    int kind;  // 0 apply, 1 applyTransposed, 2 gemm
    bool ta, tb;
    DType a, b, out;
  };
  std::vector<Case> cases;
  const DType F = DType::f32, H = DType::bf16;
  for (int64_t tokens : {512, 64, 2048, 8, 4, 1})
    for (const auto& [k, n] : {std::pair<int64_t, int64_t>{4096, 4096}, {4096, 11008}, {11008, 4096}, {576, 1536}}) {
      if (tokens != 512 && k == 11008) continue;
      const std::string shape = std::to_string(tokens) + "x" + std::to_string(k) + "x" + std::to_string(n);
      cases.push_back({"apply f32 " + shape, tokens, k, n, 0, false, false, F, F, F});
      cases.push_back({"applyTransposed f32 " + shape, tokens, k, n, 1, false, false, F, F, F});
      cases.push_back({"apply bf16 " + shape, tokens, k, n, 0, false, false, H, H, H});
      cases.push_back({"applyTransposed bf16 " + shape, tokens, k, n, 1, false, false, H, H, H});
      cases.push_back({"apply 4bit " + shape, tokens, k, n, 0, false, false, H, DType::u8, H});
      cases.push_back({"applyTransposed 4bit " + shape, tokens, k, n, 1, false, false, H, DType::u8, H});
    }
  for (int64_t tokens : {512, 2048})
    for (int64_t width : {4096, 576})
      for (int64_t r : {8, 16, 64})
        for (DType d : {F, H}) {
          const std::string of = (d == F ? " f32 " : " bf16 ") + std::to_string(tokens) + "x" + std::to_string(width) + " r=" + std::to_string(r);
          cases.push_back({"rank xA^T" + of, tokens, width, r, 2, false, true, d, F, d});
          cases.push_back({"rank hB^T" + of, tokens, r, width, 2, false, true, d, F, d});
          cases.push_back({"rank dyB" + of, tokens, width, r, 2, false, false, d, F, d});
          cases.push_back({"rank dhA" + of, tokens, r, width, 2, false, false, d, F, d});
          cases.push_back({"rank dy^Th" + of, width, tokens, r, 2, true, false, d, d, F});
          cases.push_back({"rank dh^Tx" + of, r, tokens, width, 2, true, false, d, d, F});
        }
  std::printf("%d threads, GFLOP/s per second of processor time (wall clock)\n", threads);
  for (const Case& c : cases) {
    if (!selected(c.name)) continue;
    const bool usePairs = multipliesPairs && c.a == H;
    const bool back = c.kind == 1;
    const Tensor a = random(c.a, c.ta ? c.k : c.m, c.kind == 2 ? (c.ta ? c.m : c.k) : back ? c.n : c.k);
    const bool quantised = c.b == DType::u8;
    const Tensor codes = quantised ? randomTensor(DType::i32, {c.n * c.k / 8}, 1e9) : Tensor(DType::i32, {1});
    const Tensor scales = quantised ? random(F, 1, c.n * c.k / 64) : Tensor(F, {1});
    const Tensor b = quantised ? codes : c.kind == 2 ? random(c.b, c.tb ? c.n : c.k, c.tb ? c.k : c.n) : random(c.b, c.n, c.k);
    const Tensor out = random(c.out, c.m, back ? c.k : c.n);
    const Operand operands[4] = {out.operand, a.operand, b.operand, scales.operand};
    const double gemm[10] = {double(c.m), double(c.k), double(c.n), double(c.ta), double(c.tb), 1, 0, 0, 0, 0};
    const double weight[6] = {double(c.n), double(c.k), 0, 0, 0, double(c.m)};
    const double flops = 2.0 * double(c.m) * double(c.k) * double(c.n);
    const Kernel& kernel = kernels.at(c.kind == 2 ? "gemm" : back ? "X.applyTransposed" : "X.apply");
    const int repeat = std::max(1, int(3e8 / flops));
    Rate product, peak;
    for (int round = 0; round < 7; round++) {
      measure(peak, threads, [&] { return usePairs ? peakFlops<Pairs>(pool) : peakFlops<Singles>(pool); });
      measure(product, threads, [&] {
        for (int i = 0; i < repeat; i++)
          kernel.body(graft::Call{operands, quantised ? 4 : 3, c.kind == 2 ? gemm : weight, c.kind == 2 ? 10 : 6, nullptr, pool, quantised ? &fourBit : sources.at("dense")});
        return flops * repeat;
      });
    }
    std::printf("%-44s %7.1f of %6.1f  %5.1f %%  (wall %7.1f of %6.1f)", c.name.c_str(), product.processor, peak.processor,
                100 * product.processor / peak.processor, product.wall, peak.wall);
    if (c.m <= 8) std::printf("  %.1f GB/s of W", product.wall / (2.0 * double(c.m)) * (quantised ? 0.5625 : double(graft::bytesOf(c.b))));
    std::printf("\n");
    std::fflush(stdout);
  }
}
