// A float vector as wide as the instruction set, over the vector extensions of GCC and Clang: one source for AVX2, AVX-512
// and NEON. For GRAFT_ISA=scalar the "vector" is one plain float, so that code written with these names runs there too.
//
//   F32, I32, U32     kLanes floats or 32-bit integers; + − · / & | << and comparisons are the compiler's own, by lane
//   load / store      f32, bf16 and f16 memory; narrowing rounds to nearest even and keeps NaN; …Part for a tail. AVX512-BF16's
//                     own instruction narrows what is below 2^-126 to 0
//   fma               fused where the instruction set has it, a rounded product and a sum where not (scalar)
//   sum, largest      over the lanes, by halves: always the same order
//   transpose         kLanes vectors as a square
//
// Everything is inside namespace GRAFT_ISA: the same name compiled for two instruction sets must stay two functions.
#pragma once

#include <graft/halfFloats.h>

#include <cstring>

#define GRAFT_ISA_IS_scalar 1
#define GRAFT_ISA_PASTE(a, b) a##b
#define GRAFT_ISA_JOIN(a, b) GRAFT_ISA_PASTE(a, b)
#define GRAFT_SCALAR GRAFT_ISA_JOIN(GRAFT_ISA_IS_, GRAFT_ISA)
#define GRAFT_ISA_WIDTH_scalar 1
#define GRAFT_ISA_WIDTH_avx2 8
#define GRAFT_ISA_WIDTH_avx512 16
#define GRAFT_ISA_WIDTH_avx512bf16 16
#define GRAFT_ISA_WIDTH_neon 4
#define GRAFT_ISA_WIDTH_neonbf16 4
#define GRAFT_LANES GRAFT_ISA_JOIN(GRAFT_ISA_WIDTH_, GRAFT_ISA)

#if defined(__x86_64__) && !GRAFT_SCALAR
#include <immintrin.h>
#elif defined(__aarch64__) && !GRAFT_SCALAR
#include <arm_neon.h>
#endif

#ifdef __GNUC__
// GCC notes that passing wide vectors differs between flags: here all of it is inlined. And GCC 12 warns of its own
// AVX-512 intrinsics, whose "undefined" operand is a variable initialised with itself.
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace graft {
namespace GRAFT_ISA {

constexpr int kLanes = GRAFT_LANES;

template <class T>
GRAFT_INLINE constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
GRAFT_INLINE constexpr T larger(T a, T b) {
  return a < b ? b : a;
}
GRAFT_INLINE constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Vectors

#if GRAFT_SCALAR

using F32 = float;
using I32 = int32_t;
using U32 = uint32_t;

GRAFT_INLINE F32 splat(float x) { return x; }
GRAFT_INLINE I32 splatInt(int32_t x) { return x; }
/** 0, 1, 2, … by lane. */
GRAFT_INLINE I32 laneIndex() { return 0; }
template <class T>
GRAFT_INLINE F32 load(const T* p) { return widen(*p); }
GRAFT_INLINE I32 loadInt(const int32_t* p) { return *p; }
template <class T>
GRAFT_INLINE void store(T* p, F32 x) { narrow(x, p); }
template <class T>
GRAFT_INLINE F32 loadPart(const T* p, int64_t) { return widen(*p); }
template <class T>
GRAFT_INLINE void storePart(T* p, F32 x, int64_t) { narrow(x, p); }
GRAFT_INLINE F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
GRAFT_INLINE F32 maximum(F32 a, F32 b) { return a > b ? a : b; }
GRAFT_INLINE F32 minimum(F32 a, F32 b) { return a < b ? a : b; }
GRAFT_INLINE F32 select(bool mask, F32 a, F32 b) { return mask ? a : b; }
GRAFT_INLINE I32 select(bool mask, I32 a, I32 b) { return mask ? a : b; }
GRAFT_INLINE bool any(bool mask) { return mask; }
GRAFT_INLINE F32 squareRoot(F32 x) { return __builtin_sqrtf(x); }
GRAFT_INLINE F32 reciprocal(F32 x) { return 1.0f / x; }
GRAFT_INLINE I32 toInt(F32 x) { return static_cast<int32_t>(x); }
GRAFT_INLINE F32 toFloat(I32 x) { return static_cast<float>(x); }
GRAFT_INLINE float sum(F32 x) { return x; }
GRAFT_INLINE float largest(F32 x) { return x; }
GRAFT_INLINE float laneOf(F32 x, int) { return x; }

#else

using F32 = float __attribute__((vector_size(4 * kLanes)));
using I32 = int32_t __attribute__((vector_size(4 * kLanes)));
using U32 = uint32_t __attribute__((vector_size(4 * kLanes)));
using U16 = uint16_t __attribute__((vector_size(2 * kLanes)));
// The same in memory: any alignment, any declared type.
using F32InMemory = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
using I32InMemory = int32_t __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
using U16InMemory = uint16_t __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

GRAFT_INLINE F32 splat(float x) { return x - F32{}; }
GRAFT_INLINE I32 splatInt(int32_t x) { return x - I32{}; }
/** 0, 1, 2, … by lane. */
GRAFT_INLINE I32 laneIndex() {
  I32 lanes;
  for (int i = 0; i < kLanes; i++) lanes[i] = i;
  return lanes;
}

GRAFT_INLINE F32 load(const float* p) { return *reinterpret_cast<const F32InMemory*>(p); }
GRAFT_INLINE I32 loadInt(const int32_t* p) { return *reinterpret_cast<const I32InMemory*>(p); }
GRAFT_INLINE void store(float* p, F32 x) { *reinterpret_cast<F32InMemory*>(p) = x; }

GRAFT_INLINE U32 widenInt(U16 x) {
#if defined(__AVX2__) && GRAFT_LANES == 8
  return bitsAs<U32>(_mm256_cvtepu16_epi32(bitsAs<__m128i>(x)));
#elif defined(__AVX512F__) && GRAFT_LANES == 16
  return bitsAs<U32>(_mm512_cvtepu16_epi32(bitsAs<__m256i>(x)));
#else
  return __builtin_convertvector(x, U32);
#endif
}
GRAFT_INLINE U16 narrowInt(U32 x) {
#if defined(__AVX2__) && GRAFT_LANES == 8
  const __m256i v = bitsAs<__m256i>(x);
  return bitsAs<U16>(_mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
#elif defined(__AVX512F__) && GRAFT_LANES == 16
  return bitsAs<U16>(_mm512_cvtepi32_epi16(bitsAs<__m512i>(x)));
#else
  return __builtin_convertvector(x, U16);
#endif
}

GRAFT_INLINE F32 load(const BF16* p) { return bitsAs<F32>(widenInt(*reinterpret_cast<const U16InMemory*>(p)) << 16); }
GRAFT_INLINE void store(BF16* p, F32 x) {
#if defined(__AVX512BF16__) && GRAFT_LANES == 16
  // One instruction where integers take six.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bitsAs<__m256i>(_mm512_cvtneps_pbh(x)));
#elif defined(__AVX512BW__) && GRAFT_LANES == 16
  const __m512i bits = bitsAs<__m512i>(x);
  __m512i rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  rounded = _mm512_mask_add_epi32(rounded, _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000)), rounded, _mm512_set1_epi32(1));
  rounded = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
  // The upper halves by one shuffle, where a shift and a narrowing move are three.
  const __m512i upper = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, rounded)));
#else
  const U32 bits = bitsAs<U32>(x);
  const U32 rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
  *reinterpret_cast<U16InMemory*>(p) = narrowInt(x != x ? quiet : rounded);
#endif
}

GRAFT_INLINE F32 load(const F16* p) {
#if defined(__F16C__) && GRAFT_LANES == 8
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#else
  F32 x;
  for (int i = 0; i < kLanes; i++) x[i] = widen(p[i]);
  return x;
#endif
}
GRAFT_INLINE void store(F16* p, F32 x) {
#if defined(__F16C__) && GRAFT_LANES == 8
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX512F__) && GRAFT_LANES == 16
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes; i++) narrow(x[i], p + i);
#endif
}

/** The first `count` < kLanes elements; the other lanes are 0. */
template <class T>
GRAFT_INLINE F32 loadPart(const T* p, int64_t count) {
  T lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(count) * sizeof(T));
  return load(lanes);
}
template <class T>
GRAFT_INLINE void storePart(T* p, F32 x, int64_t count) {
  T lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, static_cast<size_t>(count) * sizeof(T));
}

GRAFT_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && GRAFT_LANES == 8
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__FMA__) && GRAFT_LANES == 16
  // AVX-512 source on an AVX2 machine, for tests of its logic.
  struct Halves {
    __m256 low, high;
  };
  const Halves x = bitsAs<Halves>(a), y = bitsAs<Halves>(b), z = bitsAs<Halves>(c);
  return bitsAs<F32>(Halves{_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)});
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

/** The larger of two; b where either is NaN, as the x86 instruction has it. */
GRAFT_INLINE F32 maximum(F32 a, F32 b) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__) && GRAFT_LANES == 8
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
GRAFT_INLINE F32 minimum(F32 a, F32 b) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__) && GRAFT_LANES == 8
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
/** Lanes of a where the mask (a comparison's result) is set, else of b. */
GRAFT_INLINE F32 select(I32 mask, F32 a, F32 b) { return mask ? a : b; }
GRAFT_INLINE I32 select(I32 mask, I32 a, I32 b) { return mask ? a : b; }
GRAFT_INLINE bool any(I32 mask) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_test_epi32_mask(bitsAs<__m512i>(mask), bitsAs<__m512i>(mask)) != 0;
#elif defined(__AVX2__) && GRAFT_LANES == 8
  return _mm256_movemask_ps(bitsAs<__m256>(mask)) != 0;
#elif defined(__aarch64__)
  return vmaxvq_u32(bitsAs<uint32x4_t>(mask)) != 0;
#else
  int32_t joined = 0;
  for (int i = 0; i < kLanes; i++) joined |= mask[i];
  return joined != 0;
#endif
}

GRAFT_INLINE F32 squareRoot(F32 x) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  return _mm512_sqrt_ps(x);
#elif defined(__AVX2__) && GRAFT_LANES == 8
  return _mm256_sqrt_ps(x);
#elif defined(__aarch64__)
  return vsqrtq_f32(x);
#else
  for (int i = 0; i < kLanes; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
/** 1 / x for normal x of which the reciprocal is normal too, within a unit in the last place; NaN for NaN. */
GRAFT_INLINE F32 reciprocal(F32 x) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  const F32 near = _mm512_rcp14_ps(x);  // to 14 bits, which one step of Newton's doubles
  return fma(near, fma(-x, near, splat(1)), near);
#else
  return 1.0f / x;
#endif
}
/** Towards zero. */
GRAFT_INLINE I32 toInt(F32 x) { return __builtin_convertvector(x, I32); }
GRAFT_INLINE F32 toFloat(I32 x) { return __builtin_convertvector(x, F32); }

GRAFT_INLINE float laneOf(F32 x, int lane) { return x[lane]; }
/** Sum of the lanes, halves onto halves: ((x0+x4)+(x2+x6)) + ((x1+x5)+(x3+x7)) for eight. */
GRAFT_INLINE float sum(F32 x) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
#endif
}
GRAFT_INLINE float largest(F32 x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  return lanes[0];
}

/** x[i] lane j becomes x[j] lane i. */
GRAFT_INLINE void transpose(F32 (&x)[kLanes]) {
#if defined(__AVX2__) && GRAFT_LANES == 8
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 4; i++) {
    pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      const __m256 a = pairs[4 * i + j], b = pairs[4 * i + 2 + j];
      fours[4 * i + 2 * j] = _mm256_shuffle_ps(a, b, 0x44);
      fours[4 * i + 2 * j + 1] = _mm256_shuffle_ps(a, b, 0xee);
    }
  for (int i = 0; i < 4; i++) {
    x[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
    x[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
  }
#elif defined(__AVX512F__) && GRAFT_LANES == 16
  __m512 pairs[16], fours[16], eights[16];
  for (int i = 0; i < 8; i++) {
    pairs[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    pairs[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
  // fours[4 i + c]: rows 4 i … 4 i + 3 of the columns c, c + 4, c + 8 and c + 12.
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) {
      const __m512 a = pairs[4 * i + j], b = pairs[4 * i + 2 + j];
      fours[4 * i + 2 * j] = _mm512_shuffle_ps(a, b, 0x44);
      fours[4 * i + 2 * j + 1] = _mm512_shuffle_ps(a, b, 0xee);
    }
  for (int i = 0; i < 2; i++)
    for (int c = 0; c < 4; c++) {
      eights[8 * i + c] = _mm512_shuffle_f32x4(fours[8 * i + c], fours[8 * i + 4 + c], 0x88);
      eights[8 * i + 4 + c] = _mm512_shuffle_f32x4(fours[8 * i + c], fours[8 * i + 4 + c], 0xdd);
    }
  for (int c = 0; c < 4; c++) {
    x[c] = _mm512_shuffle_f32x4(eights[c], eights[8 + c], 0x88);
    x[8 + c] = _mm512_shuffle_f32x4(eights[c], eights[8 + c], 0xdd);
    x[4 + c] = _mm512_shuffle_f32x4(eights[4 + c], eights[12 + c], 0x88);
    x[12 + c] = _mm512_shuffle_f32x4(eights[4 + c], eights[12 + c], 0xdd);
  }
#elif defined(__aarch64__)
  const float32x4_t a = vtrn1q_f32(x[0], x[1]), b = vtrn2q_f32(x[0], x[1]), c = vtrn1q_f32(x[2], x[3]), d = vtrn2q_f32(x[2], x[3]);
  const auto join = [](float32x2_t low, float32x2_t high) { return vcombine_f32(low, high); };
  x[0] = join(vget_low_f32(a), vget_low_f32(c));
  x[1] = join(vget_low_f32(b), vget_low_f32(d));
  x[2] = join(vget_high_f32(a), vget_high_f32(c));
  x[3] = join(vget_high_f32(b), vget_high_f32(d));
#else
  F32 y[kLanes];
  for (int i = 0; i < kLanes; i++)
    for (int j = 0; j < kLanes; j++) y[i][j] = x[j][i];
  for (int i = 0; i < kLanes; i++) x[i] = y[i];
#endif
}

#endif

}  // namespace GRAFT_ISA
}  // namespace graft
