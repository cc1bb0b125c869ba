// What GEMM needs of vectors beyond simd.h: untyped loads, pairs of bf16, squares transposed in registers.
//
// One source for AVX2 (8 lanes), AVX-512 (16) and NEON (4). Where the compilation lacks an instruction (the AVX-512 source
// compiled for AVX2, as tests do) plain arithmetic takes its place, so that the code runs on any machine.
#pragma once

#include <graft/gemm_matrix.h>

#if !GRAFT_SCALAR

#define GRAFT_ISA_PAIRS_avx512bf16 1
#define GRAFT_ISA_PAIRS_neonbf16 1
/** Whether this instruction set multiplies pairs of bf16. */
#define GRAFT_PAIRS GRAFT_ISA_JOIN(GRAFT_ISA_PAIRS_, GRAFT_ISA)

namespace graft {
namespace GRAFT_ISA {
namespace panels {

constexpr int lanes = kLanes;
#if GRAFT_PAIRS
constexpr bool multipliesPairs = true;
#else
constexpr bool multipliesPairs = false;
#endif

using Floats = F32;
using Words = U32;
using Halves = U16;
using WordsInMemory = uint32_t __attribute__((vector_size(4 * lanes), aligned(2), may_alias));
using HalvesInMemory = uint16_t __attribute__((vector_size(2 * lanes), aligned(2), may_alias));

GRAFT_INLINE Floats loadFloats(const void* p) { return load(static_cast<const float*>(p)); }
GRAFT_INLINE Words loadWords(const void* p) { return *static_cast<const WordsInMemory*>(p); }
GRAFT_INLINE void storeWords(void* p, Words v) { *static_cast<WordsInMemory*>(p) = v; }
/** Sixteen-bit elements, one to the low half of each lane. */
GRAFT_INLINE Words loadHalves(const void* p) { return widenInt(*static_cast<const HalvesInMemory*>(p)); }
GRAFT_INLINE Floats broadcast(float x) { return splat(x); }
GRAFT_INLINE Words broadcast(uint32_t x) { return x + Words{}; }

GRAFT_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }

/** Per lane: sum + a.low * b.low + a.high * b.high, the halves being bf16. */
GRAFT_INLINE Floats multiplyAddPairs(Words a, Words b, Floats sum) {
#if defined(__AVX512BF16__) && GRAFT_LANES == 16
  return bitsAs<Floats>(_mm512_dpbf16_ps(sum, bitsAs<__m512bh>(a), bitsAs<__m512bh>(b)));
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return vbfdotq_f32(sum, bitsAs<bfloat16x8_t>(a), bitsAs<bfloat16x8_t>(b));
#else
  const Words high = broadcast(0xffff0000u);
  sum = fma(bitsAs<Floats>(a & high), bitsAs<Floats>(b & high), sum);
  return fma(bitsAs<Floats>(a << 16), bitsAs<Floats>(b << 16), sum);
#endif
}

/** bf16 in the low half of each lane, to f32: exact. */
GRAFT_INLINE Floats widenHalves(Words half) { return bitsAs<Floats>(half << 16); }
/** f32 to bf16 in the low half of each lane, to nearest even; a NaN stays one. */
GRAFT_INLINE Words narrowFloats(Floats x) {
  const Words bits = bitsAs<Words>(x);
  const Words rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
  return x != x ? quiet : rounded;
}

#if defined(__clang__)
#define GRAFT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GRAFT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, I32{__VA_ARGS__})
#endif

/** Pairs of neighbours: the low halves of a's and then b's lanes, two to a word. */
GRAFT_INLINE Words joinHalves(Words a, Words b) {
#if GRAFT_LANES == 16
  const Words even = GRAFT_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const Words odd = GRAFT_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif GRAFT_LANES == 8
  const Words even = GRAFT_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14), odd = GRAFT_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  const Words even = GRAFT_SHUFFLE(a, b, 0, 2, 4, 6), odd = GRAFT_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
  return even | odd << 16;
}

/** Rows become columns: r[i] lane j and r[j] lane i change places. */
GRAFT_INLINE void transpose(Words r[lanes]) {
#if GRAFT_LANES == 16
  // Within quarters (128 bits) first, then whole quarters.
  Words s[16];
  for (int q = 0; q < 16; q += 2) {
    s[q] = GRAFT_SHUFFLE(r[q], r[q + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    s[q + 1] = GRAFT_SHUFFLE(r[q], r[q + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  }
  for (int q = 0; q < 16; q += 4) {
    r[q] = GRAFT_SHUFFLE(s[q], s[q + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    r[q + 1] = GRAFT_SHUFFLE(s[q], s[q + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    r[q + 2] = GRAFT_SHUFFLE(s[q + 1], s[q + 3], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    r[q + 3] = GRAFT_SHUFFLE(s[q + 1], s[q + 3], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
#define GRAFT_EVEN_QUARTERS(a, b) GRAFT_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define GRAFT_ODD_QUARTERS(a, b) GRAFT_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
  for (int q = 0; q < 4; q++) {
    s[q] = GRAFT_EVEN_QUARTERS(r[q], r[q + 4]);
    s[q + 4] = GRAFT_ODD_QUARTERS(r[q], r[q + 4]);
    s[q + 8] = GRAFT_EVEN_QUARTERS(r[q + 8], r[q + 12]);
    s[q + 12] = GRAFT_ODD_QUARTERS(r[q + 8], r[q + 12]);
  }
  for (int q = 0; q < 8; q++) {
    r[q] = GRAFT_EVEN_QUARTERS(s[q], s[q + 8]);
    r[q + 8] = GRAFT_ODD_QUARTERS(s[q], s[q + 8]);
  }
#undef GRAFT_EVEN_QUARTERS
#undef GRAFT_ODD_QUARTERS
#elif GRAFT_LANES == 8
  Words s[8];
  for (int q = 0; q < 8; q += 2) {
    s[q] = GRAFT_SHUFFLE(r[q], r[q + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    s[q + 1] = GRAFT_SHUFFLE(r[q], r[q + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int q = 0; q < 8; q += 4) {
    r[q] = GRAFT_SHUFFLE(s[q], s[q + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    r[q + 1] = GRAFT_SHUFFLE(s[q], s[q + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    r[q + 2] = GRAFT_SHUFFLE(s[q + 1], s[q + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    r[q + 3] = GRAFT_SHUFFLE(s[q + 1], s[q + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int q = 0; q < 4; q++) {
    s[q] = GRAFT_SHUFFLE(r[q], r[q + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    s[q + 4] = GRAFT_SHUFFLE(r[q], r[q + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  for (int q = 0; q < 8; q++) r[q] = s[q];
#else
  const Words a = GRAFT_SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = GRAFT_SHUFFLE(r[0], r[1], 2, 6, 3, 7);
  const Words c = GRAFT_SHUFFLE(r[2], r[3], 0, 4, 1, 5), d = GRAFT_SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  r[0] = GRAFT_SHUFFLE(a, c, 0, 1, 4, 5);
  r[1] = GRAFT_SHUFFLE(a, c, 2, 3, 6, 7);
  r[2] = GRAFT_SHUFFLE(b, d, 0, 1, 4, 5);
  r[3] = GRAFT_SHUFFLE(b, d, 2, 3, 6, 7);
#endif
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
