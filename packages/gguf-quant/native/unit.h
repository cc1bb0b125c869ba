// 32 numbers of a block, as all of ggml's formats have them: two times 16 small codes, each 16 with a scale and an offset,
//
//     value = scale * code + offset          (offset only where the format has one)
//
// scale * code is exact in f32 (at most 24 bits), so that a fused multiply-add rounds as a product and a sum do, and the
// values are gguf-py's bit for bit.
#pragma once

#include <graft/gemm_vector.h>

namespace graft {
namespace GRAFT_ISA {

/** Numbers of a unit: the smallest block, and an eighth of the largest. */
constexpr int unit = 32;

/** The f16 at `p`, which may lie anywhere. */
GRAFT_INLINE float half(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
#if defined(__F16C__)
  return _cvtsh_ss(bits);
#else
  return widen(F16{bits});
#endif
}
GRAFT_INLINE uint32_t word(const uint8_t* p) {
  uint32_t bits;
  std::memcpy(&bits, p, 4);
  return bits;
}

#if !GRAFT_SCALAR

using namespace panels;

using Bytes = uint8_t __attribute__((vector_size(16)));
using Codes = int8_t __attribute__((vector_size(16)));

/** What a format's `read` gives. */
struct Unit {
  Codes codes[2];
  float scale[2];
  float offset[2];
};

GRAFT_INLINE Bytes bytesAt(const uint8_t* p) {
  Bytes bytes;
  std::memcpy(&bytes, p, 16);
  return bytes;
}
GRAFT_INLINE Bytes everyByte(uint8_t x) { return x - Bytes{}; }
GRAFT_INLINE Codes codesOf(Bytes bytes) { return bitsAs<Codes>(bytes); }

/** Byte i is 0xff where bit i is set, else 0. */
GRAFT_INLINE Bytes maskOf(uint32_t sixteenBits) {
  constexpr uint64_t everywhere = 0x0101010101010101;
  const uint64_t spread[2] = {(sixteenBits & 0xff) * everywhere, (sixteenBits >> 8 & 0xff) * everywhere};
  const Bytes own = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  return bitsAs<Bytes>((bitsAs<Bytes>(spread) & own) == own);
}

/** table[index] of each byte; indices are below 16. */
GRAFT_INLINE Codes lookUp(const int8_t* table, Bytes index) {
#if defined(__SSSE3__)
  return bitsAs<Codes>(_mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), bitsAs<__m128i>(index)));
#elif defined(__aarch64__)
  return bitsAs<Codes>(vqtbl1q_s8(vld1q_s8(table), bitsAs<uint8x16_t>(index)));
#else
  Codes found;
  for (int i = 0; i < 16; i++) found[i] = table[index[i]];
  return found;
#endif
}

/** 16 codes in f32. */
GRAFT_INLINE void floatsOf(Codes codes, Floats (&values)[16 / lanes]) {
#if defined(__AVX512F__) && GRAFT_LANES == 16
  values[0] = bitsAs<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bitsAs<__m128i>(codes))));
#elif defined(__AVX2__) && GRAFT_LANES == 8
  const __m128i low = bitsAs<__m128i>(codes);
  values[0] = bitsAs<Floats>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)));
  values[1] = bitsAs<Floats>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(low, low))));
#elif defined(__aarch64__)
  const int8x16_t all = bitsAs<int8x16_t>(codes);
  const int16x8_t low = vmovl_s8(vget_low_s8(all)), high = vmovl_high_s8(all);
  values[0] = bitsAs<Floats>(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))));
  values[1] = bitsAs<Floats>(vcvtq_f32_s32(vmovl_high_s16(low)));
  values[2] = bitsAs<Floats>(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))));
  values[3] = bitsAs<Floats>(vcvtq_f32_s32(vmovl_high_s16(high)));
#else
  for (int v = 0; v < 16 / lanes; v++)
    for (int l = 0; l < lanes; l++) values[v][l] = codes[v * lanes + l];
#endif
}

/** The unit's numbers; `Offsets`: whether the format has them. */
template <bool Offsets>
GRAFT_INLINE void valuesOf(const Unit& from, Floats (&values)[unit / lanes]) {
  constexpr int ofHalf = 16 / lanes;
#pragma GCC unroll 2
  for (int h = 0; h < 2; h++) {
    Floats codes[ofHalf];
    floatsOf(from.codes[h], codes);
    const Floats scale = broadcast(from.scale[h]);
#pragma GCC unroll 4
    for (int v = 0; v < ofHalf; v++)
      values[h * ofHalf + v] = Offsets ? fma(codes[v], scale, broadcast(from.offset[h])) : codes[v] * scale;
  }
}

#endif

}  // namespace GRAFT_ISA
}  // namespace graft
