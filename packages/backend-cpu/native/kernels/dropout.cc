// Dropout by counter-based random numbers, forward and backward alike.
// graft-isa: scalar avx2 avx512 neon
//
//   out[outRow + t, c] (+)= keep ? x[xRow + t, c] / (1 − rate) : 0          `rows` rows of `width`
//   keep = uniform(seed, site, sample, position, step, c) ≥ rate
//
// uniform: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) with the key
// (seed, site) and the counter (floor(c / 4), position, sample, step); word c % 4 of its output, >> 8, times 2^−24.
// (sample, position) = rowKeys[keyRow + t]. So a number depends on nothing but what it is for.
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

constexpr int64_t kCounters = 1;
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
constexpr int64_t kCounters = kLanes / 2;
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

/** The 4 · kCounters words for the counters from `group` on, >> 8, in the order of their columns. */
GRAFT_INLINE void draw(uint32_t group, const Stream& stream, uint32_t* words) {
  const U64 zero{}, low = zero + 0xffffffffu;
  U64 c0, c1 = zero + stream.position, c2 = zero + stream.sample, c3 = zero + stream.step;
  for (int i = 0; i < kCounters; i++) c0[i] = uint32_t(group + uint32_t(i));
  uint32_t key0 = stream.seed, key1 = stream.site;
  for (int round = 0; round < 10; round++, key0 += kWeyl0, key1 += kWeyl1) {
    const U64 first = multiply(c0, zero + kMultiplier0), second = multiply(c2, zero + kMultiplier1);
    // Upper halves of c1 and c3 hold what `multiply` ignores and the shifts below drop.
    c0 = (second >> 32) ^ (c1 & low) ^ uint64_t(key0);
    c1 = second;
    c2 = (first >> 32) ^ (c3 & low) ^ uint64_t(key1);
    c3 = first;
  }
  c0 = (c0 & low) >> 8, c1 = (c1 & low) >> 8, c2 = (c2 & low) >> 8, c3 = (c3 & low) >> 8;
  const U64 even = c0 | c1 << 32, odd = c2 | c3 << 32;  // words 0 and 1, words 2 and 3
  uint64_t pairs[2 * kCounters];
  for (int i = 0; i < kCounters; i++) pairs[2 * i] = even[i], pairs[2 * i + 1] = odd[i];
  __builtin_memcpy(words, pairs, sizeof(pairs));
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
    uint32_t words[kBlock + 4 * kCounters];
    for (int64_t column = 0; column < width; column += kBlock) {
      const int64_t count = smaller(kBlock, width - column);
      for (int64_t i = 0; i < count; i += 4 * kCounters) draw(uint32_t((column + i) / 4), stream, words + i);
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

void register_dropout(Registry& registry) {
  registry.add("dropout", {"rate", "seed", "step", "site", "width", "rows", "outRow", "xRow", "keyRow", "accumulate"}, dropout);
}

}  // namespace GRAFT_ISA
}  // namespace graft
