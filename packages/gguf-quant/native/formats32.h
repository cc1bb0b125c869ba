// Blocks of 32 numbers (ggml-common.h, block_q8_0 and the like): an f16 scale d, for Q4_1 and Q5_1 an f16 offset m, for Q5_0
// and Q5_1 the fifth bits of all codes, then the codes; of 4-bit codes the low nibbles are the first 16 numbers.
//
//     Q8_0: d q, q int8     Q4_0: d (q - 8)     Q4_1: d q + m     Q5_0: d (q - 16)     Q5_1: d q + m     IQ4_NL: d values[q]
#pragma once

#include "unit.h"

namespace graft {
namespace GRAFT_ISA {

/** Of IQ4_NL and IQ4_XS; constants of the formats. */
alignas(16) static constexpr int8_t unevenValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

/** Code i of 16 bytes, whose low nibbles come first. */
GRAFT_INLINE int nibble(const uint8_t* bytes, int i) { return i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4; }

struct Q8_0 {
  static constexpr int64_t elements = 32, bytes = 34;
  static constexpr bool offsets = false;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) { return half(block) * static_cast<int8_t>(block[2 + i]); }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    to.codes[0] = codesOf(bytesAt(block + 2));
    to.codes[1] = codesOf(bytesAt(block + 18));
    to.scale[0] = to.scale[1] = half(block);
  }
#endif
};

struct Q4_0 {
  static constexpr int64_t elements = 32, bytes = 18;
  static constexpr bool offsets = false;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    return half(block) * static_cast<float>(nibble(block + 2, i) - 8);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    const Bytes pairs = bytesAt(block + 2);
    to.codes[0] = codesOf((pairs & 15) - 8);
    to.codes[1] = codesOf((pairs >> 4) - 8);
    to.scale[0] = to.scale[1] = half(block);
  }
#endif
};

struct Q4_1 {
  static constexpr int64_t elements = 32, bytes = 20;
  static constexpr bool offsets = true;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    return half(block) * static_cast<float>(nibble(block + 4, i)) + half(block + 2);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    const Bytes pairs = bytesAt(block + 4);
    to.codes[0] = codesOf(pairs & 15);
    to.codes[1] = codesOf(pairs >> 4);
    to.scale[0] = to.scale[1] = half(block);
    to.offset[0] = to.offset[1] = half(block + 2);
  }
#endif
};

struct Q5_0 {
  static constexpr int64_t elements = 32, bytes = 22;
  static constexpr bool offsets = false;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const int fifth = static_cast<int>(word(block + 2) >> i & 1);
    return half(block) * static_cast<float>((nibble(block + 6, i) | fifth << 4) - 16);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    const Bytes pairs = bytesAt(block + 6);
    const uint32_t fifth = word(block + 2);
    to.codes[0] = codesOf(((pairs & 15) | (maskOf(fifth) & 16)) - 16);
    to.codes[1] = codesOf(((pairs >> 4) | (maskOf(fifth >> 16) & 16)) - 16);
    to.scale[0] = to.scale[1] = half(block);
  }
#endif
};

struct Q5_1 {
  static constexpr int64_t elements = 32, bytes = 24;
  static constexpr bool offsets = true;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    const int fifth = static_cast<int>(word(block + 4) >> i & 1);
    return half(block) * static_cast<float>(nibble(block + 8, i) | fifth << 4) + half(block + 2);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    const Bytes pairs = bytesAt(block + 8);
    const uint32_t fifth = word(block + 4);
    to.codes[0] = codesOf((pairs & 15) | (maskOf(fifth) & 16));
    to.codes[1] = codesOf((pairs >> 4) | (maskOf(fifth >> 16) & 16));
    to.scale[0] = to.scale[1] = half(block);
    to.offset[0] = to.offset[1] = half(block + 2);
  }
#endif
};

struct IQ4_NL {
  static constexpr int64_t elements = 32, bytes = 18;
  static constexpr bool offsets = false;
#if GRAFT_SCALAR
  GRAFT_INLINE static float value(const uint8_t* block, int i) {
    return half(block) * static_cast<float>(unevenValues[nibble(block + 2, i)]);
  }
#else
  GRAFT_INLINE static void read(const uint8_t* block, int, Unit& to) {
    const Bytes pairs = bytesAt(block + 2);
    to.codes[0] = lookUp(unevenValues, pairs & 15);
    to.codes[1] = lookUp(unevenValues, pairs >> 4);
    to.scale[0] = to.scale[1] = half(block);
  }
#endif
};

}  // namespace GRAFT_ISA
}  // namespace graft
