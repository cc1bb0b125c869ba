// Blocks of 256 numbers, eight units (ggml-common.h, block_q2_K … block_q6_K, block_iq4_xs). A block has an f16 scale d (Q2_K,
// Q4_K and Q5_K an f16 offset scale m beside it) and small integers s that scale each 16 or 32 numbers:
//
//     Q2_K: d s q - m s'     Q3_K: d (s - 32) (q - 4)     Q4_K, Q5_K: d s q - m s'     Q6_K: d s (q - 32)
//     IQ4_XS: d (s - 32) values[q]
//
// Codes are spread over a block so that the 32 numbers of a unit use the same bits of 32 neighbouring bytes.
#pragma once

#include "formats32.h"

namespace graft {
namespace GRAFT_ISA {

/** Two bits of 32 bytes: number 128 h + 32 j + l has bits 2 j of byte 32 h + l. */
struct TwoBits {
  GRAFT_INLINE static int code(const uint8_t* bytes, int i) { return bytes[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3; }
#if !GRAFT_SCALAR
  GRAFT_INLINE static Bytes codes(const uint8_t* bytes, int u, int h) {
    return bytesAt(bytes + u / 4 * 32 + 16 * h) >> static_cast<uint8_t>(2 * (u % 4)) & 3;
  }
#endif
};

/** s u8 [16] (scale in the low nibble, offset in the high), q u8 [64], d, m. */
struct Q2_K {
  static constexpr int64_t elements = 256, bytes = 84;
  static constexpr bool offsets = true;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const float scale = half(block + 80) * static_cast<float>(block[i / 16] & 15);
    return scale * static_cast<float>(TwoBits::code(block + 16, i)) - half(block + 82) * static_cast<float>(block[i / 16] >> 4);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const float d = half(block + 80), m = half(block + 82);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const int s = block[2 * u + h];
      to.codes[h] = codesOf(TwoBits::codes(block + 16, u, h));
      to.scale[h] = d * static_cast<float>(s & 15);
      to.offset[h] = -(m * static_cast<float>(s >> 4));
    }
  }
#endif
};

/** The third bits u8 [32] (bit u of byte i: number 32 u + i), q u8 [64], s 16 times six bits in 12 bytes, d. */
struct Q3_K {
  static constexpr int64_t elements = 256, bytes = 110;
  static constexpr bool offsets = false;
  /** Low four bits in bytes 0 … 7, high two in bytes 8 … 11. */
  GRAFT_INLINE static int scaleOf(const uint8_t* s, int k) {
    const int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
    return (low | (s[8 + k % 4] >> (2 * (k / 4)) & 3) << 4) - 32;
  }
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const int q = TwoBits::code(block + 32, i) | (block[i % 32] >> (i / 32) & 1) << 2;
    return half(block + 108) * static_cast<float>(scaleOf(block + 96, i / 16)) * static_cast<float>(q - 4);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const float d = half(block + 108);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const Bytes third = bytesAt(block + 16 * h) >> static_cast<uint8_t>(u) & 1;
      to.codes[h] = codesOf((TwoBits::codes(block + 32, u, h) | third << 2) - 4);
      to.scale[h] = d * static_cast<float>(scaleOf(block + 96, 2 * u + h));
    }
  }
#endif
};

/** Scale and offset k of eight, six bits each in 12 bytes (ggml-quants.c, get_scale_min_k4). */
struct SixBitPairs {
  float scale, offset;
  GRAFT_INLINE SixBitPairs(const uint8_t* block, int k) {
    const uint8_t* s = block + 4;
    const int low = k < 4 ? s[k] & 63 : (s[k + 4] & 15) | s[k - 4] >> 6 << 4;
    const int high = k < 4 ? s[k + 4] & 63 : s[k + 4] >> 4 | s[k] >> 6 << 4;
    scale = half(block) * static_cast<float>(low);
    offset = -(half(block + 2) * static_cast<float>(high));
  }
};

/** d, m, s [12 bytes], q u8 [128]: units 2 j in low nibbles, 2 j + 1 in high ones, of bytes 32 j …. */
struct Q4_K {
  static constexpr int64_t elements = 256, bytes = 144;
  static constexpr bool offsets = true;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const SixBitPairs s(block, i / 32);
    return s.scale * static_cast<float>(block[16 + i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15) + s.offset;
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const SixBitPairs s(block, u);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      to.codes[h] = codesOf(bytesAt(block + 16 + u / 2 * 32 + 16 * h) >> static_cast<uint8_t>(4 * (u % 2)) & 15);
      to.scale[h] = s.scale;
      to.offset[h] = s.offset;
    }
  }
#endif
};

/** d, m, s [12 bytes], the fifth bits u8 [32] (bit u of byte i: number 32 u + i), q u8 [128] as Q4_K's. */
struct Q5_K {
  static constexpr int64_t elements = 256, bytes = 176;
  static constexpr bool offsets = true;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const SixBitPairs s(block, i / 32);
    const int low = block[48 + i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15, fifth = block[16 + i % 32] >> (i / 32) & 1;
    return s.scale * static_cast<float>(low | fifth << 4) + s.offset;
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const SixBitPairs s(block, u);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const Bytes low = bytesAt(block + 48 + u / 2 * 32 + 16 * h) >> static_cast<uint8_t>(4 * (u % 2)) & 15;
      const Bytes fifth = bytesAt(block + 16 + 16 * h) >> static_cast<uint8_t>(u) & 1;
      to.codes[h] = codesOf(low | fifth << 4);
      to.scale[h] = s.scale;
      to.offset[h] = s.offset;
    }
  }
#endif
};

/**
 * Low nibbles u8 [128], high pairs of bits u8 [64], s i8 [16], d. Of each 128 numbers, 32 j … have their low nibble in bytes
 * 32 (j mod 2) …, low half for j < 2, and bits 2 j of the 32 bytes of pairs.
 */
struct Q6_K {
  static constexpr int64_t elements = 256, bytes = 210;
  static constexpr bool offsets = false;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const int j = i / 32 % 4, low = block[i / 128 * 64 + j % 2 * 32 + i % 32] >> (j / 2 * 4) & 15;
    const int q = low | TwoBits::code(block + 128, i) << 4;
    return half(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + i / 16])) * static_cast<float>(q - 32);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const float d = half(block + 208);
    const int j = u % 4;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const Bytes low = bytesAt(block + u / 4 * 64 + j % 2 * 32 + 16 * h) >> static_cast<uint8_t>(j / 2 * 4) & 15;
      to.codes[h] = codesOf((low | TwoBits::codes(block + 128, u, h) << 4) - 32);
      to.scale[h] = d * static_cast<float>(static_cast<int8_t>(block[192 + 2 * u + h]));
    }
  }
#endif
};

/** d, the high pairs of bits of s u16, their low nibbles u8 [4], codes u8 [128]: a unit in 16 bytes, low nibbles first. */
struct IQ4_XS {
  static constexpr int64_t elements = 256, bytes = 136;
  static constexpr bool offsets = false;
  GRAFT_INLINE static float scaleOf(const uint8_t* block, int u) {
    const int low = block[4 + u / 2] >> (4 * (u % 2)) & 15, high = (block[2] | block[3] << 8) >> (2 * u) & 3;
    return half(block) * static_cast<float>((low | high << 4) - 32);
  }
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    return scaleOf(block, i / 32) * static_cast<float>(unevenValues[nibble(block + 8 + i / 32 * 16, i % 32)]);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int u, Unit& to) {
    const Bytes pairs = bytesAt(block + 8 + 16 * u);
    to.codes[0] = lookUp(unevenValues, pairs & 15);
    to.codes[1] = lookUp(unevenValues, pairs >> 4);
    to.scale[0] = to.scale[1] = scaleOf(block, u);
  }
#endif
};

}  // namespace GRAFT_ISA
}  // namespace graft
