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
/** A full block. */
template <const Codebook& book, class T>
GRAFT_INLINE int32_t quantizeFull(const T* x, int64_t block, uint8_t* packed, float* absmax) {
  constexpr int unit = 32;
  I32 most{};
  for (int64_t i = 0; i < block; i += unit)
#pragma GCC unroll 8
    for (int v = 0; v < unit; v += kLanes) {
      const I32 bits = bitsAs<I32>(load(x + i + v)) & 0x7fffffff;
      most = bits > most ? bits : most;
    }
  int32_t bits = 0;
  for (int l = 0; l < kLanes; l++) bits = larger(bits, most[l]);
  const float top = bitsAs<float>(bits);
  *absmax = top;
  const F32 reciprocal = splat(1.0f / larger(top, least));
  for (int64_t i = 0; i < block; i += unit) {
    alignas(64) uint64_t pairs[unit / 2];
#pragma GCC unroll 8
    for (int v = 0; v < unit / kLanes; v++) {
      const F32 scaled = load(x + i + v * kLanes) * reciprocal;
      I32 places{};
#pragma GCC unroll 15
      for (int j = 0; j < 15; j++) places -= scaled > splat(book.bounds[j]);
      __builtin_memcpy(pairs + v * kLanes / 2, &places, sizeof(places));
    }
    // Two places to a number of 64 bits, the earlier in its low half.
#pragma GCC unroll 16
    for (int p = 0; p < unit / 2; p++) packed[i / 2 + p] = book.pairs[(pairs[p] << 4 | pairs[p] >> 32) & 0xff];
  }
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
    for (int64_t e = task * elementsOfTask; e < end; e += block) {
      const int64_t count = smaller(block, end - e);
      const bool partial = count < block;
#if GRAFT_SCALAR
      const int32_t bits = quantizeBlock<book>(x + e, count, partial, packed + e / 2, absmax + e / block);
#else
      const int32_t bits = partial ? quantizeBlock<book>(x + e, count, true, packed + e / 2, absmax + e / block)
                                   : quantizeFull<book>(x + e, block, packed + e / 2, absmax + e / block);
#endif
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
