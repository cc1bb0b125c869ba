// The code books of 4-bit weights: constants of the format, as in src/codebooks.ts (bitsandbytes/functional.py get_4bit_type).
#pragma once

#include <graft/kernel.h>

namespace graft {
namespace GRAFT_ISA {

struct Codebook {
  /** The value of each code. */
  float values[16];
  /** The codes in the order of their values. */
  int order[16];
  /** Midpoints of neighbours in that order: a value has as many of them strictly below it as its place. */
  float bounds[15];
  /** The same as bytes. */
  uint8_t codes[16];
  /** Byte b of each value, for table look-ups by bytes. */
  uint8_t planes[4][16];
  /** The codes of two places, the earlier element's in the high nibble: by the two places in nibbles. */
  uint8_t pairs[256];
};
constexpr Codebook completed(Codebook book) {
  for (int i = 0; i < 15; i++) book.bounds[i] = (book.values[book.order[i]] + book.values[book.order[i + 1]]) / 2.0f;
  for (int i = 0; i < 16; i++) book.codes[i] = static_cast<uint8_t>(book.order[i]);
  for (int i = 0; i < 16; i++) {
    const auto bits = __builtin_bit_cast(uint32_t, book.values[i]);
    for (int b = 0; b < 4; b++) book.planes[b][i] = static_cast<uint8_t>(bits >> (8 * b));
  }
  for (int i = 0; i < 256; i++) book.pairs[i] = static_cast<uint8_t>(book.order[i >> 4] << 4 | book.order[i & 15]);
  return book;
}
/** NormalFloat (QLoRA, arXiv:2305.14314 section 3). */
static constexpr Codebook nf4 = completed(
    {{-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
      -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
      0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
     {},
     {},
     {},
     {}});
/** 4-bit floats over 12; codes 0 and 8 are both 0. */
static constexpr Codebook fp4 = completed(
    {{0.0f, 0.0052083334885537624f, 2.0f / 3, 1.0f, 1.0f / 3, 0.5f, 1.0f / 6, 0.25f, 0.0f, -0.0052083334885537624f, -2.0f / 3,
      -1.0f, -1.0f / 3, -0.5f, -1.0f / 6, -0.25f},
     {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3},
     {},
     {},
     {},
     {}});

}  // namespace GRAFT_ISA
}  // namespace graft
