// Each loop keeps as many independent accumulators as hide the latency of a multiply-add on two pipes, in registers only:
// loops over them are unrolled, since one that is not gives them addresses and stores them in each round; and each is held
// from the start, since equal ones would be computed once.
#include "peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "cores.h"
#include "failure.h"
#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace graft {

using Clock = std::chrono::steady_clock;

/** Rounds between two looks at the clock. */
static constexpr int64_t rounds = 20000;

/** Keeps a value in a register and out of the optimiser's sight. */
template <class Vector>
[[gnu::always_inline]] static inline void hold(Vector& value) {
#if defined(__x86_64__)
  asm volatile("" : "+x"(value));
#else
  asm volatile("" : "+w"(value));
#endif
}
#if defined(__x86_64__)
#define GRAFT_HOLD512(value) asm volatile("" : "+v"(value))
#endif

// Loops return the operations that they did.

/** What the compiler makes of plain code: the baseline's vectors of 4, a multiplication and an addition. */
static double scalarLoop() {
  typedef float Vector __attribute__((vector_size(16)));
  constexpr int accumulators = 12;
  Vector sums[accumulators];
#pragma GCC unroll 12
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = Vector{1, 1, 1, 1};
    hold(sums[i]);
  }
  Vector factor{0.5f, 0.5f, 0.5f, 0.5f};
  for (int64_t r = 0; r < rounds; ++r) {
    hold(factor);
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) sums[i] = sums[i] * factor + factor;
  }
#pragma GCC unroll 12
  for (int i = 0; i < accumulators; ++i) hold(sums[i]);
  return 2.0 * 4 * accumulators * rounds;
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] static double avx2Loop() {
  constexpr int accumulators = 12;
  __m256 sums[accumulators];
#pragma GCC unroll 12
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = _mm256_set1_ps(1);
    asm volatile("" : "+x"(sums[i]));
  }
  __m256 factor = _mm256_set1_ps(0.5f);
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+x"(factor));
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
  }
#pragma GCC unroll 12
  for (int i = 0; i < accumulators; ++i) asm volatile("" : "+x"(sums[i]));
  return 2.0 * 8 * accumulators * rounds;
}

[[gnu::target("avx512f")]] static double avx512Loop() {
  constexpr int accumulators = 16;
  __m512 sums[accumulators];
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = _mm512_set1_ps(1);
    GRAFT_HOLD512(sums[i]);
  }
  __m512 factor = _mm512_set1_ps(0.5f);
  for (int64_t r = 0; r < rounds; ++r) {
    GRAFT_HOLD512(factor);
#pragma GCC unroll 16
    for (int i = 0; i < accumulators; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, factor);
  }
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) GRAFT_HOLD512(sums[i]);
  return 2.0 * 16 * accumulators * rounds;
}

[[gnu::target("avx512f,avx512bf16")]] static double avx512bf16Loop() {
  constexpr int accumulators = 16;
  __m512 sums[accumulators];
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = _mm512_set1_ps(1);
    GRAFT_HOLD512(sums[i]);
  }
  __m512bh factor;
  std::memset(&factor, 0, sizeof factor);
  for (int64_t r = 0; r < rounds; ++r) {
    GRAFT_HOLD512(factor);
#pragma GCC unroll 16
    for (int i = 0; i < accumulators; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) GRAFT_HOLD512(sums[i]);
  return 2.0 * 32 * accumulators * rounds;
}
#elif defined(__aarch64__)
static double neonLoop() {
  constexpr int accumulators = 16;
  float32x4_t sums[accumulators];
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = vdupq_n_f32(1);
    hold(sums[i]);
  }
  float32x4_t factor = vdupq_n_f32(0.5f);
  for (int64_t r = 0; r < rounds; ++r) {
    hold(factor);
#pragma GCC unroll 16
    for (int i = 0; i < accumulators; ++i) sums[i] = vfmaq_f32(factor, sums[i], factor);
  }
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) hold(sums[i]);
  return 2.0 * 4 * accumulators * rounds;
}

#if !defined(__clang__)
#define GRAFT_BF16_TARGET [[gnu::target("arch=armv8.2-a+bf16")]]
#elif __clang_major__ >= 16  // older ones have the intrinsics only where all code may use them
#define GRAFT_BF16_TARGET [[gnu::target("bf16")]]
#endif
#if defined(GRAFT_BF16_TARGET)
GRAFT_BF16_TARGET static double neonbf16Loop() {
  constexpr int accumulators = 16;
  float32x4_t sums[accumulators];
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) {
    sums[i] = vdupq_n_f32(1);
    asm volatile("" : "+w"(sums[i]));
  }
  bfloat16x8_t factor;
  std::memset(&factor, 0, sizeof factor);
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+w"(factor));
#pragma GCC unroll 16
    for (int i = 0; i < accumulators; ++i) sums[i] = vbfmmlaq_f32(sums[i], factor, factor);
  }
#pragma GCC unroll 16
  for (int i = 0; i < accumulators; ++i) asm volatile("" : "+w"(sums[i]));
  return 2.0 * 16 * accumulators * rounds;  // [2, 4] · [4, 2]
}
#endif
#endif

struct PeakKind {
  const char* name;
  Isa isa;
  double (*loop)();
};
static constexpr PeakKind kinds[] = {
    {"f32.scalar", Isa::scalar, scalarLoop},
#if defined(__x86_64__)
    {"f32.avx2", Isa::avx2, avx2Loop},
    {"f32.avx512", Isa::avx512, avx512Loop},
    {"bf16.avx512bf16", Isa::avx512bf16, avx512bf16Loop},
#elif defined(__aarch64__)
    {"f32.neon", Isa::neon, neonLoop},
#if defined(GRAFT_BF16_TARGET)
    {"bf16.neonbf16", Isa::neonbf16, neonbf16Loop},
#endif
#endif
};

std::vector<std::string> peakKinds() {
  std::vector<std::string> names;
  for (const auto& kind : kinds) {
    if (available(kind.isa)) names.emplace_back(kind.name);
  }
  return names;
}

/** `work(thread)` again and again on each thread for `ms`; the amounts it returns, per second. */
template <class Work>
static double ratePerSecond(int threads, double ms, const Work& work) {
  std::vector<double> rates(static_cast<size_t>(threads));
  std::atomic<int> waiting{threads};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      keepToCore(t, threads);
      work(t);  // warms up: pages, clock speed
      waiting.fetch_sub(1);
      while (waiting.load() > 0) std::this_thread::yield();
      const auto start = Clock::now();
      double amount = 0, seconds = 0;
      do {
        amount += work(t);
        seconds = std::chrono::duration<double>(Clock::now() - start).count();
      } while (seconds * 1000 < ms);
      rates[static_cast<size_t>(t)] = amount / seconds;
    });
  }
  double sum = 0;
  for (auto& worker : workers) worker.join();
  for (const double rate : rates) sum += rate;
  return sum;
}

double peakFlops(std::string_view name, int threads, double ms) {
  std::string known;
  for (const auto& kind : kinds) {
    if (!available(kind.isa)) continue;
    if (kind.name == name) return ratePerSecond(threads, ms, [&](int) { return kind.loop(); });
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  throw Failure("peak: kind \"" + std::string(name) + "\" cannot be measured here; choose one of " + known,
                FailureKind::range);
}

Bandwidth memoryBandwidth(int threads, double ms) {
  constexpr size_t bytes = size_t{128} << 20;  // several times a last-level cache's share
  constexpr size_t words = bytes / sizeof(uint64_t);
  struct Free {
    void operator()(uint64_t* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<uint64_t[], Free>> blocks;
  for (int t = 0; t < threads; ++t) {
    blocks.emplace_back(static_cast<uint64_t*>(std::malloc(bytes)));
    if (blocks.back() == nullptr) throw Failure("bandwidth: no memory for a block of " + std::to_string(bytes) + " bytes");
    std::memset(blocks.back().get(), 1, bytes);
  }
  std::vector<uint64_t> sums(static_cast<size_t>(threads));
  Bandwidth found{};
  found.read = ratePerSecond(threads, ms, [&](int t) {
    const uint64_t* block = blocks[static_cast<size_t>(t)].get();
    uint64_t sum = 0;
    for (size_t i = 0; i < words; ++i) sum += block[i];
    sums[static_cast<size_t>(t)] = sum;
    asm volatile("" : : "r"(sum));
    return static_cast<double>(bytes);
  });
  found.copy = ratePerSecond(threads, ms, [&](int t) {
    uint64_t* block = blocks[static_cast<size_t>(t)].get();
    std::memcpy(block, block + words / 2, bytes / 2);
    asm volatile("" : : "r"(block) : "memory");
    return static_cast<double>(bytes);
  });
  return found;
}

}  // namespace graft
