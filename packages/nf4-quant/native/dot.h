// A few tokens by a 4-bit weight, reading its codes once: y[t, r] = x[t] . W[row0 + r].
//
// Codes are expanded in registers, a group of them at a time, multiplied by x unscaled, and a group's sum is scaled once. x is
// made ready once for a product: its elements lie in the order in which a group's values come out of the registers.
//
// `ExactDot` multiplies the values themselves, in f32. `RoundedDot` serves x that is stored in bf16: values and x become
// integers of 15 bits with sign, those of x over the largest of its group, whose products are summed exactly. That errs by
// 2^-15 of the largest x times the group's weights, and by 2^-16 of a block's largest weight; rounding W to bf16, as bf16
// products do elsewhere, errs by 2^-9 of each. It needs two look-ups and one unpacking a value where f32 needs four and two.
#pragma once

#include <graft/gemm_dot.h>

#include "decode.h"

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {

/** Codes that are multiplied at once. Of 64, a vector's lower half belongs to the first 32 and its upper half to the rest. */
constexpr int64_t group = lanes == 4 ? unit : 2 * unit;
/** Scales that wait together, and bytes of x that stay in the first-level cache while rows take their turns. */
constexpr int64_t dotScales = 2048, dotBytes = 16 << 10;

/** The values as integers over `integerOne`, which loses least of them for NF4; FP4's are multiples of 1/192. */
template <const Codebook& book>
struct IntegerValues {
  static constexpr float one = &book == &fp4 ? 192 * 85 : 15684;
  int16_t of[16];
  constexpr IntegerValues() : of{} {
    for (int i = 0; i < 16; i++) of[i] = static_cast<int16_t>(book.values[i] * one + (book.values[i] < 0 ? -0.5f : 0.5f));
  }
};
/** Largest integer of x: a lane sums eight products of a group. */
constexpr float integerX = 16383;

template <const Codebook& book>
struct ExactDot {
  using Element = float;
  static constexpr bool scaled = false;
  FloatTable table{book};

  /** Where element i of a group waits. */
  static GRAFT_INLINE constexpr int64_t place(int64_t i) {
    if (group == unit) return i;
    constexpr int64_t half = lanes / 2;
    // What AVX2 looks up comes out as the earlier codes of bytes, then the later.
    const int64_t within = lanes == 8 ? i % 2 * 16 + i % unit / 2 : i % unit;
    return within / half * lanes + i / unit * half + within % half;
  }
  template <int Tokens>
  GRAFT_INLINE void multiply(const uint8_t* bytes, const float* x, int64_t stride, Floats (&sums)[Tokens]) const {
    Floats parts[Tokens][2];
#pragma GCC unroll 2
    for (int u = 0; u < group / unit; u++) {
      Floats values[unit / lanes];
      table.expandHalf(bytes, u, values);
#pragma GCC unroll 8
      for (int v = 0; v < unit / lanes; v++)
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; t++) {
          const Floats token = loadFloats(x + t * stride + u * unit + v * lanes);
          parts[t][v % 2] = u == 0 && v < 2 ? values[v] * token : fma(values[v], token, parts[t][v % 2]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) sums[t] = parts[t][0] + parts[t][1];
  }
  static GRAFT_INLINE float ready(float* to, const float* x) {
    for (int64_t i = 0; i < group; i++) to[place(i)] = x[i];
    return 1;
  }
};

template <const Codebook& book>
struct RoundedDot {
  using Element = int16_t;
  static constexpr bool scaled = true;
  static constexpr IntegerValues<book> values{};

#if GRAFT_LANES == 8 && defined(__AVX2__)
  __m256i low, high;
  GRAFT_INLINE RoundedDot() {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values.of));
    const __m256i bytes = _mm256_packus_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(words, 8));
    low = _mm256_permute4x64_epi64(bytes, 0x88);
    high = _mm256_permute4x64_epi64(bytes, 0xdd);
  }
  static GRAFT_INLINE constexpr int64_t place(int64_t i) {
    const int64_t byte = i / 2, within = byte % 16;
    return i % 2 * 32 + within / 8 * 16 + byte / 16 * 8 + within % 8;
  }
  template <int Tokens>
  GRAFT_INLINE void multiply(const uint8_t* bytes, const int16_t* x, int64_t stride, Floats (&sums)[Tokens]) const {
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    const __m256i first = earlierCodes(packed), second = laterCodes(packed);
    const __m256i a0 = _mm256_shuffle_epi8(low, first), a1 = _mm256_shuffle_epi8(high, first);
    const __m256i b0 = _mm256_shuffle_epi8(low, second), b1 = _mm256_shuffle_epi8(high, second);
    const __m256i words[4] = {_mm256_unpacklo_epi8(a0, a1), _mm256_unpackhi_epi8(a0, a1), _mm256_unpacklo_epi8(b0, b1),
                              _mm256_unpackhi_epi8(b0, b1)};
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) {
      __m256i products[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++)
        products[v] =
            _mm256_madd_epi16(words[v], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + t * stride + v * 16)));
      sums[t] = _mm256_cvtepi32_ps(
          _mm256_add_epi32(_mm256_add_epi32(products[0], products[1]), _mm256_add_epi32(products[2], products[3])));
    }
  }
#elif GRAFT_LANES == 16 && defined(__AVX512BW__)
  __m512i table;
  // With a mask: GCC 12 warns of its own header's undefined destination in the plain one.
  GRAFT_INLINE RoundedDot()
      : table(_mm512_maskz_broadcast_i64x4(0xFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values.of)))) {}
  static GRAFT_INLINE constexpr int64_t place(int64_t i) { return i % 2 * 32 + i / 2; }
  template <int Tokens>
  GRAFT_INLINE void multiply(const uint8_t* bytes, const int16_t* x, int64_t stride, Floats (&sums)[Tokens]) const {
    // A permutation looks at five bits of an index; the table lies there twice.
    const __m512i wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
    const __m512i first = _mm512_permutexvar_epi16(_mm512_srli_epi16(wide, 4), table);
    const __m512i second = _mm512_permutexvar_epi16(wide, table);
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; t++) {
      const __m512i a = _mm512_madd_epi16(first, _mm512_loadu_si512(x + t * stride));
      const __m512i b = _mm512_madd_epi16(second, _mm512_loadu_si512(x + t * stride + 32));
      sums[t] = _mm512_cvtepi32_ps(_mm512_add_epi32(a, b));
    }
  }
#else
  static GRAFT_INLINE constexpr int64_t place(int64_t i) { return i; }
  template <int Tokens>
  GRAFT_INLINE void multiply(const uint8_t* bytes, const int16_t* x, int64_t stride, Floats (&sums)[Tokens]) const {
    for (int t = 0; t < Tokens; t++)
      for (int64_t l = 0; l < lanes; l++) {
        int32_t sum = 0;
        for (int64_t i = l * group / lanes; i < (l + 1) * group / lanes; i++)
          sum += values.of[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15] * x[t * stride + i];
        sums[t][l] = static_cast<float>(sum);
      }
  }
#endif

  /** Returns what the integers stand for, times that of the values. */
  static GRAFT_INLINE float ready(int16_t* to, const float* x) {
    I32 most{};
    for (int64_t i = 0; i < group; i += lanes) {
      const I32 bits = bitsAs<I32>(loadFloats(x + i)) & 0x7fffffff;
      most = bits > most ? bits : most;
    }
    int32_t bits = 0;
    for (int l = 0; l < lanes; l++) bits = larger(bits, most[l]);
    const float top = bitsAs<float>(bits);
    constexpr float least = 1e-30f;
    const bool none = top <= least, finite = bits < 0x7f800000;
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
    const Floats factor = broadcast(none || !finite ? 0.0f : integerX / top), shift = broadcast(12582912.0f);
    alignas(64) int32_t words[group];
    for (int64_t i = 0; i < group; i += lanes) {
      const Floats scaled = loadFloats(x + i) * factor + shift;
      __builtin_memcpy(words + i, &scaled, sizeof scaled);
    }
    for (int64_t i = 0; i < group; i++) to[place(i)] = static_cast<int16_t>(words[i]);
    return none ? 0.0f : finite ? top / integerX / IntegerValues<book>::one : __builtin_nanf("");
  }
};

/** Whether rows are made of whole units, so that a unit of codes never crosses a row, a block or a byte. */
GRAFT_INLINE bool unitsFitRows(const FourBitWeight& w) { return w.in % unit == 0; }
/** A token made ready: its elements and then, of RoundedDot, a scale for each group. */
template <class Path>
GRAFT_INLINE int64_t bytesOfToken(const FourBitWeight& w) {
  const int64_t groups = ceilDiv(w.in, group);
  return multipleUp(groups * (group * static_cast<int64_t>(sizeof(typename Path::Element)) + (Path::scaled ? 4 : 0)), 64);
}
template <class Path>
GRAFT_INLINE const float* scalesOfToken(const FourBitWeight& w, const typename Path::Element* x) {
  return reinterpret_cast<const float*>(x + ceilDiv(w.in, group) * group);
}

template <class Path>
static void readyToken(const FourBitWeight& w, void* dst, const float* x) {
  auto* to = static_cast<typename Path::Element*>(dst);
  auto* scales = const_cast<float*>(scalesOfToken<Path>(w, to));
  for (int64_t g = 0; g < ceilDiv(w.in, group); g++) {
    const float scale = Path::ready(to + g * group, x + g * group);
    if (Path::scaled) scales[g] = scale;
  }
}

/** A number from memory in all lanes. Compilers would multiply two of them first and then shuffle, where loads are free. */
GRAFT_INLINE Floats broadcastAt(const float* p) {
#if GRAFT_LANES == 8 && defined(__AVX2__)
  return _mm256_broadcast_ss(p);
#else
  return broadcast(*p);
#endif
}
/** sums += one group, whose first code is at `at` of the blocks that `scales` begin with. */
template <bool Halves, class Path, int Tokens>
GRAFT_INLINE void dotGroup(const Path& path, int shift, Floats (&sums)[Tokens], const uint8_t* codes, const float* scales,
                           int64_t at, const typename Path::Element* x, int64_t stride, const float* const (&xScales)[Tokens],
                           int64_t g) {
  Floats products[Tokens];
  path.multiply(codes, x, stride, products);
  Floats scale = broadcastAt(scales + (at >> shift));
  if constexpr (Halves) scale = laneIndex() < lanes / 2 ? scale : broadcastAt(scales + ((at + unit) >> shift));
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; t++)
    sums[t] = fma(products[t], Path::scaled ? scale * broadcastAt(xScales[t] + g) : scale, sums[t]);
}
/** sums += groups of one row. `Halves`: a group's halves may lie in two blocks. */
template <bool Halves, class Path, int Tokens>
GRAFT_INLINE void dotGroups(const Path& path, int shift, Floats (&sums)[Tokens], const uint8_t* codes, const float* scales,
                            int64_t at, const typename Path::Element* x, int64_t stride,
                            const float* const (&xScales)[Tokens], int64_t groups) {
#pragma GCC unroll 1
  for (int64_t g = 0; g < groups; g++) {
    prefetch(codes + g * group / 2 + 1024);
    dotGroup<Halves>(path, shift, sums, codes + g * group / 2, scales, at + g * group, x + g * group, stride, xScales, g);
  }
}

/** sums[t] += x[t] . W[row] over columns [column, column + length); `scales` are those of blocks from `first` on. */
template <class Path, int Tokens>
GRAFT_INLINE void dotRow(const Path& path, const FourBitWeight& w, Floats* sums, const float* scales, int64_t first,
                         const typename Path::Element* x, int64_t stride, int64_t row, int64_t column, int64_t length) {
  Floats own[Tokens];
  const float* xScales[Tokens];
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; t++) {
    own[t] = sums[t];
    xScales[t] = scalesOfToken<Path>(w, x + t * stride) + column / group;
  }
  const int64_t e = row * w.in + column, at = e - (first << w.shift), groups = length / group, done = groups * group;
  if (group > unit && (w.shift == 5 || at % group != 0)) {
    dotGroups<true>(path, w.shift, own, w.codes + e / 2, scales, at, x + column, stride, xScales, groups);
  } else {
    dotGroups<false>(path, w.shift, own, w.codes + e / 2, scales, at, x + column, stride, xScales, groups);
  }
  if (done < length) {
    uint8_t rest[group / 2] = {};  // half a group, and nothing is read past it; x is zero there
    std::memcpy(rest, w.codes + (e + done) / 2, unit / 2);
    dotGroup<false>(path, w.shift, own, rest, scales, at + done, x + column + done, stride, xScales, groups);
  }
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; t++) sums[t] = own[t];
}

template <class Path, int Tokens>
static void dotReady(const FourBitWeight& w, float* y, int64_t yStride, const typename Path::Element* x, int64_t stride,
                     int64_t row0, int64_t rows) {
  const Path path;
  float scales[dotScales];
  const int64_t blocksOfRow = w.blocksAcross(w.in);
  const int64_t together = larger(1, smaller(dotRowsTogether, dotScales / blocksOfRow));
  // Columns that fit, or a very long row's for which there is room for scales.
  const int64_t fitting = dotBytes / static_cast<int64_t>(sizeof(typename Path::Element)) / (Tokens == 3 ? 4 : Tokens);
  const int64_t columns = smaller(fitting, (dotScales - 2) * unit);
  Floats sums[multipleUp(dotRowsTogether * Tokens, lanes)];
  alignas(64) float totals[multipleUp(dotRowsTogether * Tokens, lanes)];
  for (int64_t r0 = 0; r0 < rows; r0 += together) {
    const int64_t some = smaller(together, rows - r0), row = row0 + r0;
    for (auto& sum : sums) sum = Floats{};
    const auto read = [&](int64_t from, int64_t to) {  // the scales of elements [from, to)
      const int64_t first = from >> w.shift;
      w.reader->read_f32(w.scaleStorage, scales, first, ((to - 1) >> w.shift) - first + 1, 1);
      return first;
    };
    int64_t first = 0;
    if (blocksOfRow <= dotScales) first = read(row * w.in, (row + some) * w.in);
    for (int64_t column = 0; column < w.in; column += columns) {
      const int64_t length = smaller(columns, w.in - column);
      for (int64_t r = 0; r < some; r++) {
        if (blocksOfRow > dotScales) first = read((row + r) * w.in + column, (row + r) * w.in + column + length);
        dotRow<Path, Tokens>(path, w, sums + r * Tokens, scales, first, x, stride, row + r, column, length);
      }
    }
    for (int64_t i = 0; i < some * Tokens; i += lanes) store(totals + i, sumEach(sums + i));
    for (int64_t r = 0; r < some; r++)
      for (int t = 0; t < Tokens; t++) y[t * yStride + r0 + r] = totals[r * Tokens + t];
  }
}

/** Of rows that are not made of units: they are decoded, and x is as it was. */
template <const Codebook& book>
static void dotDecoded(const FourBitWeight& w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
                       int64_t row0, int64_t rows) {
  constexpr int64_t columns = 2048;
  alignas(64) float values[columns + lanes];
  for (int64_t r = 0; r < rows; r++) {
    Floats sums[dotTokens] = {};
    for (int64_t column = 0; column < w.in; column += columns) {
      const int64_t count = smaller(columns, w.in - column);
      decodeRow<book>(w, values, row0 + r, column, count);
      for (int i = 0; i < lanes; i++) values[count + i] = 0;
      for (int64_t c = 0; c < count; c += lanes)
        for (int64_t t = 0; t < tokens; t++)
          sums[t] = fma(loadFloats(values + c), loadFloats(x + t * xStride + column + c), sums[t]);
    }
    for (int64_t t = 0; t < tokens; t++) y[t * yStride + r] = sum(sums[t]);
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft

#endif
