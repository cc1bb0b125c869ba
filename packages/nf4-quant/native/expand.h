// From 4-bit codes to their values, 32 codes (16 bytes, the earlier of a byte in the high nibble) at a time.
//
// AVX2 and NEON look bytes up: the four bytes of the values are four tables of 16, whose results are joined to words. AVX-512
// looks whole values up. Elsewhere (the AVX-512 source compiled for AVX2, as tests do) a loop takes their place.
#pragma once

#include <graft/gemm_vector.h>

#include "codebook.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

using namespace panels;

/** Codes that are expanded at once. */
constexpr int unit = 32;

#if GRAFT_LANES == 8 && defined(__AVX2__)
/** The high nibble of each byte, by a multiplication: its units are not those of shuffles and shifts, which are short here. */
GRAFT_INLINE __m256i earlierCodes(__m256i bytes) {
  return _mm256_and_si256(_mm256_mulhi_epu16(bytes, _mm256_set1_epi16(1 << 12)), _mm256_set1_epi8(15));
}
GRAFT_INLINE __m256i laterCodes(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
/** Bytes from `first` to each lane, then each byte twice: lane halves come out as 0 1 2 3 of every `group` codes. */
GRAFT_INLINE __m256i spreadCodes(const uint8_t* bytes, __m256i selection) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  const __m256i twice = _mm256_shuffle_epi8(both, selection);
  // Even bytes keep their high nibble, odd ones their low one.
  return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(twice, 4), _mm256_set1_epi16(0x000f)),
                         _mm256_and_si256(twice, _mm256_set1_epi16(0x0f00)));
}
#endif

#if GRAFT_LANES == 16 && defined(__AVX512BW__)
/** 16 bytes of codes in each quarter, where a shuffle of bytes finds them all. */
GRAFT_INLINE __m512i inEachQuarter(const uint8_t* bytes) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}
#endif

/** The values of all codes in f32. */
struct FloatTable {
#if GRAFT_LANES == 8 && defined(__AVX2__)
  __m256i planes[4];
  GRAFT_INLINE explicit FloatTable(const Codebook& book) {
    for (int b = 0; b < 4; b++)
      planes[b] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(book.planes[b])));
  }
  GRAFT_INLINE void look(__m256i codes, Floats (&values)[unit / lanes]) const {
    const __m256i b0 = _mm256_shuffle_epi8(planes[0], codes), b1 = _mm256_shuffle_epi8(planes[1], codes);
    const __m256i b2 = _mm256_shuffle_epi8(planes[2], codes), b3 = _mm256_shuffle_epi8(planes[3], codes);
    const __m256i low0 = _mm256_unpacklo_epi8(b0, b1), low1 = _mm256_unpackhi_epi8(b0, b1);
    const __m256i high0 = _mm256_unpacklo_epi8(b2, b3), high1 = _mm256_unpackhi_epi8(b2, b3);
    values[0] = bitsAs<Floats>(_mm256_unpacklo_epi16(low0, high0));
    values[1] = bitsAs<Floats>(_mm256_unpackhi_epi16(low0, high0));
    values[2] = bitsAs<Floats>(_mm256_unpacklo_epi16(low1, high1));
    values[3] = bitsAs<Floats>(_mm256_unpackhi_epi16(low1, high1));
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, Floats (&values)[unit / lanes]) const {
    // So chosen that the unpacking, which stays within halves, ends with neighbours side by side.
    look(spreadCodes(bytes, _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13,  //
                                             2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15)),
         values);
  }
  /** Half of the codes of 32 bytes, in the order in which they come out: the earlier of each byte, or the later. */
  GRAFT_INLINE void expandHalf(const uint8_t* bytes, int half, Floats (&values)[unit / lanes]) const {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    look(half != 0 ? laterCodes(both) : earlierCodes(both), values);
  }
#elif GRAFT_LANES == 16 && defined(__AVX512BW__)
  __m512 values_;
  GRAFT_INLINE explicit FloatTable(const Codebook& book) : values_(_mm512_loadu_ps(book.values)) {}
  /** The values times a scale: one block's. */
  GRAFT_INLINE FloatTable(const FloatTable& table, float scale) : values_(table.values_ * _mm512_set1_ps(scale)) {}
  /** Eight codes to a word of four bytes; a permutation looks at four bits of an index. */
  GRAFT_INLINE Floats look(const uint8_t* first, const uint8_t* second) const {
    const __m512i shifts = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
    int32_t a, b;
    std::memcpy(&a, first, 4);
    std::memcpy(&b, second, 4);
    const __m512i word = _mm512_mask_set1_epi32(_mm512_set1_epi32(a), 0xff00, b);
    return bitsAs<Floats>(_mm512_permutexvar_ps(_mm512_srlv_epi32(word, shifts), values_));
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, Floats (&values)[unit / lanes]) const {
    // Each byte to two words, the high nibble of the first moved down; a permutation looks at no other bits.
    const __m512i all = inEachQuarter(bytes), high = _mm512_set1_epi64(4);
    const __m512i first = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i second = _mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    values[0] = bitsAs<Floats>(_mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_shuffle_epi8(all, first), high), values_));
    values[1] = bitsAs<Floats>(_mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_shuffle_epi8(all, second), high), values_));
  }
  /** Half of the codes of 32 bytes, eight of the first unit and eight of the second to a vector. */
  GRAFT_INLINE void expandHalf(const uint8_t* bytes, int half, Floats (&values)[unit / lanes]) const {
    for (int v = 0; v < 2; v++) values[v] = look(bytes + 8 * half + 4 * v, bytes + 16 + 8 * half + 4 * v);
  }
#elif defined(__aarch64__)
  uint8x16_t planes[4];
  GRAFT_INLINE explicit FloatTable(const Codebook& book) {
    for (int b = 0; b < 4; b++) planes[b] = vld1q_u8(book.planes[b]);
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, Floats (&values)[unit / lanes]) const {
    const uint8x16_t packed = vld1q_u8(bytes), high = vshrq_n_u8(packed, 4), low = vandq_u8(packed, vdupq_n_u8(15));
    const uint8x16_t codes[2] = {vzip1q_u8(high, low), vzip2q_u8(high, low)};
    for (int h = 0; h < 2; h++) {
      const uint8x16_t b0 = vqtbl1q_u8(planes[0], codes[h]), b1 = vqtbl1q_u8(planes[1], codes[h]);
      const uint8x16_t b2 = vqtbl1q_u8(planes[2], codes[h]), b3 = vqtbl1q_u8(planes[3], codes[h]);
      const uint16x8_t low0 = vreinterpretq_u16_u8(vzip1q_u8(b0, b1)), low1 = vreinterpretq_u16_u8(vzip2q_u8(b0, b1));
      const uint16x8_t high0 = vreinterpretq_u16_u8(vzip1q_u8(b2, b3)), high1 = vreinterpretq_u16_u8(vzip2q_u8(b2, b3));
      values[4 * h] = bitsAs<Floats>(vzip1q_u16(low0, high0));
      values[4 * h + 1] = bitsAs<Floats>(vzip2q_u16(low0, high0));
      values[4 * h + 2] = bitsAs<Floats>(vzip1q_u16(low1, high1));
      values[4 * h + 3] = bitsAs<Floats>(vzip2q_u16(low1, high1));
    }
  }
  GRAFT_INLINE void expandHalf(const uint8_t* bytes, int, Floats (&values)[unit / lanes]) const { expand(bytes, values); }
#else
  const float* values_;
  GRAFT_INLINE explicit FloatTable(const Codebook& book) : values_(book.values) {}
  GRAFT_INLINE void expand(const uint8_t* bytes, Floats (&values)[unit / lanes]) const {
    alignas(64) float found[unit];
    for (int i = 0; i < unit; i++) found[i] = values_[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
    for (int v = 0; v < unit / lanes; v++) values[v] = loadFloats(found + v * lanes);
  }
  GRAFT_INLINE void expandHalf(const uint8_t* bytes, int half, Floats (&values)[unit / lanes]) const {
    Floats first[unit / lanes], second[unit / lanes];
    expand(bytes, first);
    expand(bytes + unit / 2, second);
    for (int v = 0; v < unit / lanes; v++)
      for (int l = 0; l < lanes; l++) {
        const int code = (half * (unit / lanes) + v) * (lanes / 2) + l % (lanes / 2);
        values[v][l] = (l < lanes / 2 ? first : second)[code / lanes][code % lanes];
      }
  }
#endif
};

/** The values of all codes times a scale, rounded to bf16: one block's. */
struct HalfTable {
  GRAFT_INLINE static void products(const Codebook& book, float scale, uint16_t (&halves)[16]) {
    // By integers: a store of bf16 may take what is denormal for zero.
    for (int i = 0; i < 16; i += lanes) {
      const Words rounded = narrowFloats(loadFloats(book.values + i) * broadcast(scale));
      for (int l = 0; l < lanes; l++) halves[i + l] = static_cast<uint16_t>(rounded[l]);
    }
  }
#if GRAFT_LANES == 8 && defined(__AVX2__)
  __m256i low, high;
  GRAFT_INLINE HalfTable(const Codebook& book, float scale) {
    const Words a = narrowFloats(loadFloats(book.values) * broadcast(scale));
    const Words b = narrowFloats(loadFloats(book.values + 8) * broadcast(scale));
    // Words 0 … 3, 8 … 11 | 4 … 7, 12 … 15, then their bytes, then both halves put in order.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(bitsAs<__m256i>(a), bitsAs<__m256i>(b)), 0xd8);
    const __m256i bytes = _mm256_packus_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(words, 8));
    low = _mm256_permute4x64_epi64(bytes, 0x88);
    high = _mm256_permute4x64_epi64(bytes, 0xdd);
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, uint16_t* to) const {
    const __m256i codes = spreadCodes(bytes, _mm256_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 8, 8, 9, 9, 10, 10, 11, 11,  //
                                                              4, 4, 5, 5, 6, 6, 7, 7, 12, 12, 13, 13, 14, 14, 15, 15));
    const __m256i b0 = _mm256_shuffle_epi8(low, codes), b1 = _mm256_shuffle_epi8(high, codes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_unpacklo_epi8(b0, b1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 16), _mm256_unpackhi_epi8(b0, b1));
  }
#elif GRAFT_LANES == 16 && defined(__AVX512BW__)
  __m512i table;  // twice, so that the fifth bit of an index does not matter
  GRAFT_INLINE HalfTable(const Codebook& book, float scale) {
#if defined(__AVX512BF16__)
    // The conversion takes what is denormal for zero, and has NaNs of its own: not for scales that may make such.
    const uint32_t exponent = bitsAs<uint32_t>(scale) >> 23 & 255;
    if (__builtin_expect(exponent > 27 && exponent < 255, 1)) {
      const __m512 values = _mm512_loadu_ps(book.values) * _mm512_set1_ps(scale);
      table = bitsAs<__m512i>(_mm512_cvtne2ps_pbh(values, values));
      return;
    }
#endif
    uint16_t halves[16];
    products(book, scale, halves);
    table = _mm512_maskz_broadcast_i64x4(0xFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, uint16_t* to) const { _mm512_storeu_si512(to, look(bytes)); }
  GRAFT_INLINE __m512i look(const uint8_t* bytes) const {
    // Byte i to both halves of word i, moved down by four bits in the first.
    const __m512i twice = _mm512_shuffle_epi8(
        inEachQuarter(bytes), _mm512_setr_epi32(0x000000, 0x010001, 0x020002, 0x030003, 0x040004, 0x050005, 0x060006, 0x070007,  //
                                                0x080008, 0x090009, 0x0a000a, 0x0b000b, 0x0c000c, 0x0d000d, 0x0e000e, 0x0f000f));
    return _mm512_permutexvar_epi16(_mm512_srlv_epi16(twice, _mm512_set1_epi32(4)), table);
  }
#elif defined(__aarch64__)
  uint8x16_t low, high;
  GRAFT_INLINE HalfTable(const Codebook& book, float scale) {
    uint16_t halves[16];
    products(book, scale, halves);
    const uint8x16x2_t bytes = vld2q_u8(reinterpret_cast<const uint8_t*>(halves));
    low = bytes.val[0];
    high = bytes.val[1];
  }
  GRAFT_INLINE void expand(const uint8_t* bytes, uint16_t* to) const {
    const uint8x16_t packed = vld1q_u8(bytes), first = vshrq_n_u8(packed, 4), second = vandq_u8(packed, vdupq_n_u8(15));
    const uint8x16_t codes[2] = {vzip1q_u8(first, second), vzip2q_u8(first, second)};
    for (int h = 0; h < 2; h++)
      vst2q_u8(reinterpret_cast<uint8_t*>(to + 16 * h), uint8x16x2_t{{vqtbl1q_u8(low, codes[h]), vqtbl1q_u8(high, codes[h])}});
  }
#else
  uint16_t halves[16];
  GRAFT_INLINE HalfTable(const Codebook& book, float scale) { products(book, scale, halves); }
  GRAFT_INLINE void expand(const uint8_t* bytes, uint16_t* to) const {
    for (int i = 0; i < unit; i++) to[i] = halves[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
  }
#endif
};

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
