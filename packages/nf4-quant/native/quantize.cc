// graft-isa: scalar avx2 avx512 neon
//
// Quantising to 4 bits, as src/quantize4bit.ts says it: a block's scale is its largest magnitude, a value is multiplied by
// the scale's reciprocal, and its code's place is the count of midpoints strictly below. (bitsandbytes clamps to [-1, 1]
// between the two, which no place depends on.) A partial last block is divided instead, and its scale is at least 1e-38.

#include <graft/simd.h>

#include <cstdio>

#include "codebook.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

/** Elements of a task: whole blocks of any size. */
constexpr int64_t elementsOfTask = 64 << 10;
constexpr float least = 1e-38f;
/** Bits of infinity: those of a finite magnitude are fewer, and bits of magnitudes are in their order. */
constexpr int32_t infinity = 0x7f800000;

template <class T>
GRAFT_INLINE int32_t magnitudeBits(const T* x) {
  return bitsAs<int32_t>(widen(*x)) & 0x7fffffff;
}
template <const Codebook& book>
GRAFT_INLINE int placeOf(float scaled) {
  int place = 0;
  for (int j = 0; j < 15; j++) place += scaled > book.bounds[j];
  return place;
}

/** Any block, element by element. */
template <const Codebook& book, class T>
GRAFT_INLINE int32_t quantizeBlock(const T* x, int64_t count, bool partial, uint8_t* packed, float* absmax) {
  int32_t bits = 0;
  for (int64_t i = 0; i < count; i++) bits = larger(bits, magnitudeBits(x + i));
  const float top = bitsAs<float>(bits);
  *absmax = partial ? larger(top, least) : top;
  const float divisor = larger(top, least), reciprocal = 1.0f / divisor;
  for (int64_t i = 0; i < count; i += 2) {
    const auto place = [&](int64_t at) {
      if (at == count) return placeOf<book>(0.0f);  // the padding of the last byte is a zero
      return placeOf<book>(partial ? widen(x[at]) / divisor : widen(x[at]) * reciprocal);
    };
    packed[i / 2] = book.pairs[place(i) << 4 | place(i + 1)];
  }
  return bits;
}

#if !GRAFT_SCALAR
/** Elements that are packed at once. */
constexpr int unit = 32;

#if GRAFT_LANES == 8 && defined(__AVX2__)
/** The midpoints as a search tree: a vector compares with the root, then picks what to compare with next. */
template <const Codebook& book>
struct Places {
  static GRAFT_INLINE __m256i below(__m256 bound, __m256 x) {
    return _mm256_castps_si256(_mm256_cmp_ps(bound, x, _CMP_LT_OQ));
  }
  /** Minus the count of midpoints below x. */
  static GRAFT_INLINE __m256i negated(__m256 x) {
    const float* b = book.bounds;
    const auto twice = [](__m256i count) { return _mm256_add_epi32(count, count); };
    // A count that is negative and doubled ends in these bits, of the four and eight midpoints of the two lower levels.
    const __m256 third = _mm256_setr_ps(b[1], b[13], b[9], b[5], b[1], b[13], b[9], b[5]);
    const __m256 low = _mm256_setr_ps(b[0], b[6], b[4], b[2], b[0], b[6], b[4], b[2]);
    const __m256 high = _mm256_setr_ps(b[8], b[14], b[12], b[10], b[8], b[14], b[12], b[10]);
    const __m256i root = below(_mm256_set1_ps(b[7]), x);
    const __m256 rootMask = _mm256_castsi256_ps(root);
    const __m256 second = _mm256_blendv_ps(_mm256_set1_ps(b[3]), _mm256_set1_ps(b[11]), rootMask);
    const __m256i two = _mm256_add_epi32(twice(root), below(second, x));
    const __m256i three = _mm256_add_epi32(twice(two), below(_mm256_permutevar_ps(third, two), x));
    const __m256 last = _mm256_blendv_ps(_mm256_permutevar_ps(low, three), _mm256_permutevar_ps(high, three), rootMask);
    return _mm256_add_epi32(twice(three), below(last, x));
  }
  /** 32 elements times `reciprocal`, as codes. */
  template <class T>
  static GRAFT_INLINE void pack(const T* x, F32 reciprocal, uint8_t* packed) {
    __m256i counts[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) counts[v] = negated(load(x + v * kLanes) * reciprocal);
    // Narrowed within halves: bytes 0-3 8-11 16-19 24-27 | 4-7 12-15 20-23 28-31.
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(counts[0], counts[1]), _mm256_packs_epi32(counts[2], counts[3]));
    const __m256i places = _mm256_abs_epi8(bytes);
    const __m256i order = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(book.codes)));
    const __m256i codes = _mm256_shuffle_epi8(order, places);
    // The earlier of two times 16 and the later: a byte in a word.
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110));
    // Words 0 1 4 5 8 9 12 13 | 2 3 6 7 10 11 14 15, as bytes, then in order.
    const __m128i narrow = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(packed),
                     _mm_shuffle_epi8(narrow, _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15)));
  }
};
#else
template <const Codebook& book>
struct Places {
  template <class T>
  static GRAFT_INLINE void pack(const T* x, F32 reciprocal, uint8_t* packed) {
    alignas(64) uint64_t pairs[unit / 2];
#pragma GCC unroll 8
    for (int v = 0; v < unit / kLanes; v++) {
      const F32 scaled = load(x + v * kLanes) * reciprocal;
      I32 places{};
#pragma GCC unroll 15
      for (int j = 0; j < 15; j++) places -= scaled > splat(book.bounds[j]);
      __builtin_memcpy(pairs + v * kLanes / 2, &places, sizeof(places));
    }
    // Two places to a number of 64 bits, the earlier in its low half.
#pragma GCC unroll 16
    for (int p = 0; p < unit / 2; p++) packed[p] = book.pairs[(pairs[p] << 4 | pairs[p] >> 32) & 0xff];
  }
};
#endif

/** The bits of magnitudes of which one is the largest of a full block. */
GRAFT_INLINE I32 largestBits(const float* x, int64_t block) {
  I32 most{};
  for (int64_t i = 0; i < block; i += unit)
#pragma GCC unroll 8
    for (int v = 0; v < unit; v += kLanes) {
      const I32 bits = bitsAs<I32>(load(x + i + v)) & 0x7fffffff;
      most = bits > most ? bits : most;
    }
  return most;
}
/** Magnitudes of 16 bits are in the order of their own bits. */
template <class T>
GRAFT_INLINE I32 largestBits(const T* x, int64_t block) {
  constexpr int wide = 16;
  using I16 = int16_t __attribute__((vector_size(2 * wide)));
  using InMemory = int16_t __attribute__((vector_size(2 * wide), aligned(2), may_alias));
  I16 most{};
#pragma GCC unroll 4
  for (int64_t i = 0; i < block; i += wide) {
    const I16 bits = *reinterpret_cast<const InMemory*>(x + i) & static_cast<int16_t>(0x7fff);
    most = bits > most ? bits : most;
  }
  alignas(32) T tops[wide];
  __builtin_memcpy(tops, &most, sizeof tops);
  I32 widest{};
#pragma GCC unroll 4
  for (int v = 0; v < wide; v += kLanes) {
    const I32 bits = bitsAs<I32>(load(tops + v));
    widest = bits > widest ? bits : widest;
  }
  return widest;
}

/** As many full blocks as a vector has lanes, so that their scales are found and divided together: the bits of those. */
template <const Codebook& book, class T>
GRAFT_INLINE I32 quantizeFull(const T* x, int64_t block, uint8_t* packed, float* absmax) {
  F32 most[kLanes];
  for (int b = 0; b < kLanes; b++) most[b] = bitsAs<F32>(largestBits(x + b * block, block));
  transpose(most);
  I32 bits = bitsAs<I32>(most[0]);
#pragma GCC unroll 16
  for (int l = 1; l < kLanes; l++) {
    const I32 other = bitsAs<I32>(most[l]);
    bits = other > bits ? other : bits;
  }
  const F32 top = bitsAs<F32>(bits);
  store(absmax, top);
  float reciprocals[kLanes];
  store(reciprocals, 1.0f / maximum(top, splat(least)));
  for (int b = 0; b < kLanes; b++)
    for (int64_t i = 0; i < block; i += unit)
      Places<book>::pack(x + b * block + i, splat(reciprocals[b]), packed + (b * block + i) / 2);
  return bits;
}
#endif

/** Says where the first value is that cannot be quantised: `name`, its row and column. */
template <class T>
void refuse(const Call& call, const T* x, int64_t first, int64_t count) {
  const Operand& name = call[3];
  int64_t at = first;
  while (at < first + count - 1 && magnitudeBits(x + at) < infinity) at++;
  const auto columns = static_cast<int64_t>(call.params[1]);
  char message[512];
  std::snprintf(message, sizeof message, "%.*s [%lld, %lld] is %s; a weight that is quantised must be finite",
                static_cast<int>(smaller<int64_t>(name.size(), 384)), name.as<const char>(),
                static_cast<long long>(at / columns), static_cast<long long>(at % columns),
                magnitudeBits(x + at) > infinity ? "NaN" : widen(x[at]) > 0 ? "Infinity" : "-Infinity");
  call.fault(message);
}

template <const Codebook& book, class T>
GRAFT_INLINE void quantizeAll(const Call& call) {
  auto* packed = call[0].as<uint8_t>();
  auto* absmax = call[1].as<float>();
  const auto* x = call[2].as<const T>();
  const auto block = static_cast<int64_t>(call.params[0]);
  const int64_t n = call[2].size();
  call.pool.parallel(ceilDiv(n, elementsOfTask), [&](int64_t task, int) {
    const int64_t end = smaller(n, (task + 1) * elementsOfTask);
    int64_t e = task * elementsOfTask;
#if !GRAFT_SCALAR
    for (; e + kLanes * block <= end; e += kLanes * block) {
      const I32 bits = quantizeFull<book>(x + e, block, packed + e / 2, absmax + e / block);
      if (any(bits >= infinity)) refuse(call, x, e, kLanes * block);
    }
#endif
    for (; e < end; e += block) {
      const int64_t count = smaller(block, end - e);
      const int32_t bits = quantizeBlock<book>(x + e, count, count < block, packed + e / 2, absmax + e / block);
      if (bits >= infinity) refuse(call, x, e, count);
    }
  });
}

/** packed u8 [ceil(n / 2)], absmax f32 [ceil(n / block)] from x [n]; name: bytes for messages. */
template <const Codebook& book>
void quantize(const Call& call) {
  if (call[2].dtype == DType::f32) {
    quantizeAll<book, float>(call);
  } else if (call[2].dtype == DType::bf16) {
    quantizeAll<book, BF16>(call);
  } else {
    quantizeAll<book, F16>(call);
  }
}

}  // namespace

void register_quantize(Registry& registry) {
  registry.add("nf4.quantize", {"block", "columns"}, quantize<nf4>);
  registry.add("fp4.quantize", {"block", "columns"}, quantize<fp4>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
