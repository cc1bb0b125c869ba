// The vectors that GEMM is written with: one source for AVX2 (8 floats), AVX-512 (16) and NEON (4).
//
// Arithmetic, loads and shuffles are those of the compiler's vector extensions; intrinsics stand only where the extensions
// have no word: fused multiply-add, the bf16 dot product, prefetch. Where the compilation lacks the instruction
// (GRAFT_EMULATE, tests only) plain arithmetic takes its place, so that the AVX-512 and bf16 code runs on any machine.
#pragma once

#include <graft/kernel.h>

#define GRAFT_ISA_CODE_scalar 0
#define GRAFT_ISA_CODE_avx2 1
#define GRAFT_ISA_CODE_avx512 2
#define GRAFT_ISA_CODE_avx512bf16 3
#define GRAFT_ISA_CODE_neon 4
#define GRAFT_ISA_CODE_neonbf16 5
#define GRAFT_PASTE_(a, b) a##b
#define GRAFT_PASTE(a, b) GRAFT_PASTE_(a, b)
/** A number that #if can compare: GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx2. */
#define GRAFT_ISA_CODE GRAFT_PASTE(GRAFT_ISA_CODE_, GRAFT_ISA)

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace graft {
namespace GRAFT_ISA {

#if GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512 || GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512bf16
constexpr int lanes = 16;
#elif GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx2
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

/** Whether products of bf16 pairs have an instruction. */
constexpr bool multipliesBf16 = GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512bf16 || GRAFT_ISA_CODE == GRAFT_ISA_CODE_neonbf16;

#if !defined(GRAFT_EMULATE)
#if GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx2 && !(defined(__AVX2__) && defined(__FMA__))
#error "avx2 needs -mavx2 -mfma"
#endif
#if (GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512 || GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512bf16) && !defined(__AVX512F__)
#error "avx512 needs -mavx512f"
#endif
#if GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512bf16 && !defined(__AVX512BF16__)
#error "avx512bf16 needs -mavx512bf16"
#endif
#if GRAFT_ISA_CODE == GRAFT_ISA_CODE_neonbf16 && !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#error "neonbf16 needs -march=armv8.2-a+bf16"
#endif
#endif

typedef float Floats __attribute__((vector_size(4 * lanes)));
typedef uint32_t Words __attribute__((vector_size(4 * lanes)));
typedef int32_t Indices __attribute__((vector_size(4 * lanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * lanes)));
typedef float FloatsAnywhere __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
typedef uint32_t WordsAnywhere __attribute__((vector_size(4 * lanes), aligned(2), may_alias));
typedef uint16_t HalvesAnywhere __attribute__((vector_size(2 * lanes), aligned(2), may_alias));

GRAFT_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
GRAFT_INLINE int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
GRAFT_INLINE constexpr int64_t quotientUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
GRAFT_INLINE constexpr int64_t multipleUp(int64_t a, int64_t b) { return quotientUp(a, b) * b; }

GRAFT_INLINE Floats loadFloats(const void* p) { return *static_cast<const FloatsAnywhere*>(p); }
GRAFT_INLINE Words loadWords(const void* p) { return *static_cast<const WordsAnywhere*>(p); }
GRAFT_INLINE void store(void* p, Floats v) { *static_cast<FloatsAnywhere*>(p) = v; }
GRAFT_INLINE void store(void* p, Words v) { *static_cast<WordsAnywhere*>(p) = v; }
GRAFT_INLINE void store(void* p, Halves v) { *static_cast<HalvesAnywhere*>(p) = v; }
/** Sixteen-bit elements, one a lane. */
GRAFT_INLINE Words loadHalves(const void* p) {
  return __builtin_convertvector(static_cast<Halves>(*static_cast<const HalvesAnywhere*>(p)), Words);
}
GRAFT_INLINE Floats broadcast(float x) { return x - Floats{}; }
GRAFT_INLINE Words broadcast(uint32_t x) { return x + Words{}; }

GRAFT_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }

/** a * b + c, rounded once. */
GRAFT_INLINE Floats multiplyAdd(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  if constexpr (lanes == 16) return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
#if defined(__FMA__)
  if constexpr (lanes == 8) return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
#if defined(__aarch64__)
  if constexpr (lanes == 4) return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#endif
  return a * b + c;
}

/** Per lane: sum + a.low * b.low + a.high * b.high, the halves being bf16. */
GRAFT_INLINE Floats multiplyAddPairs(Words a, Words b, Floats sum) {
#if defined(__AVX512BF16__)
  if constexpr (lanes == 16) return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  if constexpr (lanes == 4) return (Floats)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b);
#endif
  const Words high = broadcast(0xffff0000u);
  sum = multiplyAdd((Floats)(a & high), (Floats)(b & high), sum);
  return multiplyAdd((Floats)(a << 16), (Floats)(b << 16), sum);
}

/** Sum of the lanes, by halves: the order is the same wherever `lanes` is. */
GRAFT_INLINE float sumOf(Floats v) {
  float part[lanes];
  store(part, v);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

/** bf16 in the low half of each lane, to f32: exact. */
GRAFT_INLINE Floats widenBf16(Words half) { return (Floats)(half << 16); }
/** f32 to bf16 in the low half of each lane, to nearest even; a NaN stays a NaN. */
GRAFT_INLINE Words narrowBf16(Floats x) {
  const Words bits = (Words)x;
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words isNan = (Words)((bits & 0x7fffffffu) > 0x7f800000u);
  return (isNan & ((bits >> 16) | 0x40u)) | (~isNan & rounded);
}
/** f16 in the low half of each lane, to f32: exact, by moving the exponent and scaling by 2^112; infinities and NaNs apart. */
GRAFT_INLINE Floats widenF16(Words half) {
  const Words magnitude = (half & 0x7fffu) << 13;
  const Words special = (Words)((half & 0x7c00u) == 0x7c00u);
  const Words scaled = (Words)((Floats)magnitude * 0x1p112f);
  const Words value = (special & (magnitude | 0x7f800000u)) | (~special & scaled);
  return (Floats)(value | ((half & 0x8000u) << 16));
}

#if defined(__clang__)
#define GRAFT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GRAFT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Indices{__VA_ARGS__})
#endif

/** Rows become columns: r[i] lane j and r[j] lane i change places. */
GRAFT_INLINE void transpose(Words r[lanes]) {
#if GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512 || GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx512bf16
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
#elif GRAFT_ISA_CODE == GRAFT_ISA_CODE_avx2
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

}  // namespace GRAFT_ISA
}  // namespace graft
