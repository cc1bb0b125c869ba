// Dropout by counter-based random numbers, forward and backward alike.
// graft-isa: scalar avx2 avx512 neon
//
//   out[outRow + t, c] (+)= keep ? x[xRow + t, c] / (1 − rate) : 0          `rows` rows of `width`
//   keep = uniform(seed, site, sample, position, step, c) ≥ rate
//
// uniform: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) with the key
// (seed, site) and the counter (floor(c / 4), position, sample, step); word c % 4 of its output, >> 8, times 2^−24.
// (sample, position) = rowKeys[keyRow + t]. So a number depends on nothing but what it is for.
//
//   uniformNoise  out[t, c] = x[t, c] + (2u − 1) · sizes[t], u by the same draw: NEFTune (arXiv:2310.05914)
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

/** The part of a counter and its key that a row fixes. */
struct Stream {
  uint32_t position, sample, step, seed, site;
};

#if GRAFT_SCALAR

constexpr int64_t kWords = 4;
/** The four words for counter `group`, >> 8. */
static void draw(uint32_t group, const Stream& stream, uint32_t words[4]) {
  uint32_t c0 = group, c1 = stream.position, c2 = stream.sample, c3 = stream.step;
  uint32_t key0 = stream.seed, key1 = stream.site;
  for (int round = 0; round < 10; round++, key0 += kWeyl0, key1 += kWeyl1) {
    const uint64_t first = kMultiplier0 * c0, second = kMultiplier1 * c2;
    c0 = uint32_t(second >> 32) ^ c1 ^ key0;
    c1 = uint32_t(second);
    c2 = uint32_t(first >> 32) ^ c3 ^ key1;
    c3 = uint32_t(first);
  }
  words[0] = c0 >> 8, words[1] = c1 >> 8, words[2] = c2 >> 8, words[3] = c3 >> 8;
}

#else

// A counter's words lie in the low halves of 64-bit lanes, where the instruction sets multiply 32 × 32 → 64 bits.
constexpr int64_t kCounters = kLanes / 2, kWords = 8 * kCounters;
using U64 = uint64_t __attribute__((vector_size(8 * kCounters)));

/** Products of the low halves. */
GRAFT_INLINE U64 multiply(U64 a, U64 b) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return bitsAs<U64>(_mm512_mul_epu32(bitsAs<__m512i>(a), bitsAs<__m512i>(b)));
#elif defined(__AVX2__) && GRAFT_LANES == 8
  return bitsAs<U64>(_mm256_mul_epu32(bitsAs<__m256i>(a), bitsAs<__m256i>(b)));
#elif defined(__aarch64__)
  return bitsAs<U64>(vmull_u32(vmovn_u64(bitsAs<uint64x2_t>(a)), vmovn_u64(bitsAs<uint64x2_t>(b))));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/** Neighbouring 64-bit lanes a0 b0 a2 b2 … and a1 b1 a3 b3 …, as the shuffles of all three instruction sets have it. */
GRAFT_INLINE void interleave(U64 a, U64 b, U64& even, U64& odd) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  even = bitsAs<U64>(_mm512_unpacklo_epi64(bitsAs<__m512i>(a), bitsAs<__m512i>(b)));
  odd = bitsAs<U64>(_mm512_unpackhi_epi64(bitsAs<__m512i>(a), bitsAs<__m512i>(b)));
#elif defined(__AVX2__) && GRAFT_LANES == 8
  even = bitsAs<U64>(_mm256_unpacklo_epi64(bitsAs<__m256i>(a), bitsAs<__m256i>(b)));
  odd = bitsAs<U64>(_mm256_unpackhi_epi64(bitsAs<__m256i>(a), bitsAs<__m256i>(b)));
#else
  for (int i = 0; i < kCounters; i += 2) even[i] = a[i], even[i + 1] = b[i], odd[i] = a[i + 1], odd[i + 1] = b[i + 1];
#endif
}

/** The 8 · kCounters words for the counters from `group` on, >> 8, in the order of their columns: two vectors of counters at once. */
GRAFT_INLINE void draw(uint32_t group, const Stream& stream, uint32_t* words) {
  const U64 zero{};
  // Even lanes hold the first half of the counters, odd ones the second, so that `interleave` leaves them in order.
  U64 c0[2], c1[2], c2[2], c3[2];
  for (int i = 0; i < kCounters; i++) c0[0][i] = uint64_t(i / 2 + i % 2 * (kCounters / 2));
  c0[0] += group;
  c0[1] = c0[0] + kCounters;
  for (int v = 0; v < 2; v++) c1[v] = zero + stream.position, c2[v] = zero + stream.sample, c3[v] = zero + stream.step;
  // Only low halves count: `multiply` reads no more, and what gathers in the upper ones is dropped at the end.
  U64 key0 = zero + stream.seed, key1 = zero + stream.site;
  for (int round = 0; round < 10; round++, key0 += kWeyl0, key1 += kWeyl1)
    for (int v = 0; v < 2; v++) {
      const U64 first = multiply(c0[v], zero + kMultiplier0), second = multiply(c2[v], zero + kMultiplier1);
      c0[v] = (second >> 32) ^ c1[v] ^ key0;
      c1[v] = second;
      c2[v] = (first >> 32) ^ c3[v] ^ key1;
      c3[v] = first;
    }
  const U64 low = zero + 0xffffffu;
  for (int v = 0; v < 2; v++) {
    U64 pairs[2];
    interleave((c0[v] >> 8 & low) | (c1[v] >> 8 & low) << 32, (c2[v] >> 8 & low) | (c3[v] >> 8 & low) << 32, pairs[0], pairs[1]);
    __builtin_memcpy(words + v * 4 * kCounters, pairs, sizeof(pairs));
  }
}

#endif

static void dropout(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const int32_t* keys = call[2].as<int32_t>();
  const double rate = call.params[0];
  const uint32_t seed = uint32_t(int64_t(call.params[1])), step = uint32_t(int64_t(call.params[2]));
  const uint32_t site = uint32_t(int64_t(call.params[3]));
  const int64_t width = int64_t(call.params[4]), rows = int64_t(call.params[5]);
  const int64_t outRow = int64_t(call.params[6]), xRow = int64_t(call.params[7]), keyRow = int64_t(call.params[8]);
  const bool accumulate = call.params[9] != 0;
  // word · 2^−24 ≥ rate is word ≥ ⌈rate · 2^24⌉; words have 24 bits, so rate 1 drops all.
  const double bound = rate * 0x1p24;
  const int32_t threshold = int32_t(bound) + (double(int32_t(bound)) < bound ? 1 : 0);
  const float divisor = float(1 - rate);

  eachRow(call.pool, rows, width, [&](int64_t t) {
    const int32_t* key = keys + 2 * (keyRow + t);
    const Stream stream{uint32_t(key[1]), uint32_t(key[0]), step, seed, site};
    // Rounded up to whole draws: the last one may reach past the row.
    uint32_t words[kBlock + kWords];
    for (int64_t column = 0; column < width; column += kBlock) {
      const int64_t count = smaller(kBlock, width - column);
      for (int64_t i = 0; i < count; i += kWords) draw(uint32_t((column + i) / 4), stream, words + i);
      Buffer outBuffer, xBuffer;
      const int64_t outAt = (outRow + t) * width + column;
      const float* values = read(x, (xRow + t) * width + column, count, xBuffer);
      float* to = target(out, outAt, count, outBuffer, accumulate);
      // The words travel as floats, bit for bit.
      mapInto(to, count, accumulate, [&](F32 value, F32 word) {
        return select(bitsAs<I32>(word) >= threshold, value / divisor, splat(0));
      }, values, reinterpret_cast<const float*>(words));
      write(out, outAt, count, to);
    }
  });
}

static void uniformNoise(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const int32_t* keys = call[2].as<int32_t>();
  const float* sizes = call[3].as<float>();
  const uint32_t seed = uint32_t(int64_t(call.params[0])), step = uint32_t(int64_t(call.params[1]));
  const uint32_t site = uint32_t(int64_t(call.params[2]));
  const int64_t rows = call[3].size(), width = rows == 0 ? 0 : x.size() / rows;
  eachRow(call.pool, rows, width, [&](int64_t t) {
    const Stream stream{uint32_t(keys[2 * t + 1]), uint32_t(keys[2 * t]), step, seed, site};
    const double size = sizes[t];
    uint32_t words[kBlock + kWords];
    for (int64_t column = 0; column < width; column += kBlock) {
      const int64_t count = smaller(kBlock, width - column), at = t * width + column;
      for (int64_t i = 0; i < count; i += kWords) draw(uint32_t((column + i) / 4), stream, words + i);
      Buffer outBuffer, xBuffer;
      const float* values = read(x, at, count, xBuffer);
      float* to = target(out, at, count, outBuffer, false);
      // In double, as the formula says it: one rounding, the same in every instruction set.
      for (int64_t i = 0; i < count; i++) to[i] = float(double(values[i]) + (2 * (words[i] * 0x1p-24) - 1) * size);
      write(out, at, count, to);
    }
  });
}

void register_dropout(Registry& registry) {
  registry.add("uniformNoise", {"seed", "step", "site"}, uniformNoise);
  registry.add("dropout", {"rate", "seed", "step", "site", "width", "rows", "outRow", "xRow", "keyRow", "accumulate"}, dropout);
}

}  // namespace GRAFT_ISA
}  // namespace graft
