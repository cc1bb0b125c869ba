// Packing: one side of a product, a dense matrix of f32, bf16 or f16, becomes panels in the tile's element format.
//
// A panel of `width` outputs and k reduction elements is dst[p * width + j]; several panels follow one another. The matrix
// lies either along the reduction (an output's values side by side: squares of lanes x lanes are transposed in registers)
// or across it (a step's outputs side by side: rows are copied). bf16 sources are widened or paired on the way, so a
// bf16 operand costs nothing more on a machine without bf16 multiplies.
#pragma once

#include <graft/gemm_tile.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** How a storage format is read: floats, bf16 bits in the low half of each lane, or pairs of neighbours. */
template <class T>
struct Read {
  using Type = T;
  static GRAFT_INLINE Floats floats(const T* p) { return load(p); }
  static GRAFT_INLINE Words halves(const T* p) { return narrowFloats(load(p)); }
  static GRAFT_INLINE Words pairs(const T* p) { return joinHalves(halves(p), halves(p + lanes)); }
};
template <>
struct Read<BF16> {
  using Type = BF16;
  static GRAFT_INLINE Floats floats(const BF16* p) { return load(p); }
  static GRAFT_INLINE Words halves(const BF16* p) { return loadHalves(p); }
  static GRAFT_INLINE Words pairs(const BF16* p) { return loadWords(p); }
};

/** One vector of elements from neighbours along the reduction. */
template <class Kind, class Source>
GRAFT_INLINE Words readAlong(const typename Source::Type* p) {
  if constexpr (Kind::perElement == 1) {
    return bitsAs<Words>(Source::floats(p));
  } else {
    return Source::pairs(p);
  }
}

/** `count` values from p, zeros after them, up to one vector of elements. */
template <class Kind, class Source>
GRAFT_INLINE Words readAlongPart(const typename Source::Type* p, int64_t count) {
  typename Source::Type part[Kind::perElement * lanes] = {};
  for (int64_t i = 0; i < count; i++) part[i] = p[i];
  return readAlong<Kind, Source>(part);
}

/** Outputs side by side at one step of the reduction; `next` is the following step, null past the end. */
template <class Kind, class Source>
GRAFT_INLINE Words readAcross(const typename Source::Type* p, const typename Source::Type* next) {
  if constexpr (Kind::perElement == 1) {
    return bitsAs<Words>(Source::floats(p));
  } else {
    const Words low = Source::halves(p);
    return next == nullptr ? low : low | (Source::halves(next) << 16);
  }
}

GRAFT_INLINE void copyWords(void* to, const Words& from, int64_t count) {
  alignas(64) uint32_t words[lanes];
  storeWords(words, from);
  std::memcpy(to, words, static_cast<size_t>(count) * 4);
}

/** One panel of `outputs` <= width rows of the source, `k` values each. */
template <class Kind, class Source>
static void packAlong(uint32_t* dst, int64_t width, int64_t outputs, const typename Source::Type* src, int64_t ld,
                      int64_t k) {
  constexpr int64_t step = Kind::perElement * lanes;
  const int64_t elements = ceilDiv(k, Kind::perElement), total = elements * width;
  // Groups of `lanes` outputs, the last first: where width is no multiple of lanes, its vectors reach into the next
  // element's first group, which is written after it.
  for (int64_t group = ceilDiv(width, lanes) - 1; group >= 0; group--) {
    const int64_t present = larger(0, smaller(lanes, outputs - group * lanes));
    const typename Source::Type* rows = src + group * lanes * ld;
    for (int64_t p = 0; p < elements; p += lanes) {
      const int64_t left = k - p * Kind::perElement;
      Words square[lanes];
      if (present == lanes && left >= step) {
#pragma GCC unroll 16
        for (int q = 0; q < lanes; q++) square[q] = readAlong<Kind, Source>(rows + q * ld + p * Kind::perElement);
      } else {
        for (int q = 0; q < lanes; q++)
          square[q] = q >= present ? Words{}
                      : left >= step
                          ? readAlong<Kind, Source>(rows + q * ld + p * Kind::perElement)
                          : readAlongPart<Kind, Source>(rows + q * ld + p * Kind::perElement, left);
      }
      transpose(square);
      uint32_t* at = dst + p * width + group * lanes;
      if (at + (lanes - 1) * width + lanes <= dst + total) {
#pragma GCC unroll 16
        for (int q = 0; q < lanes; q++) storeWords(at + q * width, square[q]);
      } else {
        for (int64_t q = 0; q < smaller(lanes, elements - p); q++)
          copyWords(at + q * width, square[q], smaller(lanes, width - group * lanes));
      }
    }
  }
}

/** Panels of `outputs` columns of the source, `k` steps. */
template <class Kind, class Source>
static void packAcross(uint32_t* dst, int64_t width, int64_t outputs, const typename Source::Type* src, int64_t ld,
                       int64_t k) {
  const int64_t elements = ceilDiv(k, Kind::perElement);
  constexpr int64_t line = 64 / sizeof(typename Source::Type), ahead = 8;
  for (int64_t p = 0; p < elements; p++) {
    // A row is a few cache lines, far from the next row's: no hardware prefetcher follows.
    for (int64_t j = 0; j < outputs; j += line) prefetch(src + (p + ahead) * Kind::perElement * ld + j);
    if constexpr (Kind::perElement == 2)
      for (int64_t j = 0; j < outputs; j += line) prefetch(src + ((p + ahead) * 2 + 1) * ld + j);
    const typename Source::Type* row = src + p * Kind::perElement * ld;
    const typename Source::Type* next = p * Kind::perElement + 1 < k ? row + ld : nullptr;
    for (int64_t first = 0; first < outputs; first += width) {
      uint32_t* at = dst + first * elements + p * width;
      for (int64_t j = 0; j < width; j += lanes) {
        Words v;
        if (first + j + lanes <= outputs) {
          v = readAcross<Kind, Source>(row + first + j, next == nullptr ? nullptr : next + first + j);
        } else {
          typename Source::Type part[lanes] = {}, nextPart[lanes] = {};
          for (int64_t i = first + j; i < outputs; i++) {
            part[i - first - j] = row[i];
            if (next != nullptr) nextPart[i - first - j] = next[i];
          }
          v = readAcross<Kind, Source>(part, nextPart);
        }
        // A vector that reaches past the panel's width spills into the next elements, written after it.
        if (p * width + j + lanes <= elements * width) {
          storeWords(at + j, v);
        } else {
          copyWords(at + j, v, smaller(lanes, width - j));
        }
      }
    }
  }
}

template <class Kind, class Source>
GRAFT_INLINE void packAs(const Matrix& matrix, uint32_t* dst, int64_t width, int64_t first, int64_t count, int64_t k0,
                         int64_t k) {
  const typename Source::Type* data = static_cast<const typename Source::Type*>(matrix.data);
  if (matrix.along) {
    const int64_t panel = ceilDiv(k, Kind::perElement) * width;
    for (int64_t o = 0; o < count; o += width, dst += panel)
      packAlong<Kind, Source>(dst, width, smaller(width, count - o), data + (first + o) * matrix.ld + k0, matrix.ld, k);
  } else {
    packAcross<Kind, Source>(dst, width, count, data + k0 * matrix.ld + first, matrix.ld, k);
  }
}

/** Panels of outputs [first, first + count) and steps [k0, k0 + k) of a dense matrix. */
template <class Kind>
static void pack(const Matrix& matrix, void* dst, int64_t width, int64_t first, int64_t count, int64_t k0, int64_t k) {
  uint32_t* words = static_cast<uint32_t*>(dst);
  if (matrix.dtype == DType::f32) {
    packAs<Kind, Read<float>>(matrix, words, width, first, count, k0, k);
  } else if (matrix.dtype == DType::bf16) {
    packAs<Kind, Read<BF16>>(matrix, words, width, first, count, k0, k);
  } else {
    packAs<Kind, Read<F16>>(matrix, words, width, first, count, k0, k);
  }
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
