// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// 4-bit weights natively: the panel sources `nf4` and `fp4`, and their quantisers. Codes lie two to a byte, the earlier in the
// high nibble; a block of consecutive elements, across rows, shares a scale:
//   W[e] = codebook[code[e]] * scale[e / block]
// The block size follows from how many scales there are. Formulas and constants are those of src/quantize4bit.ts.

#include <graft/gemm_dot.h>
#include <graft/scales.h>

namespace graft {
namespace GRAFT_ISA {

namespace {

using namespace panels;

struct Codebook {
  float values[16];
  int order[16];
  float bounds[15];
};
constexpr Codebook withBounds(Codebook book) {
  for (int i = 0; i < 15; i++) book.bounds[i] = (book.values[book.order[i]] + book.values[book.order[i + 1]]) / 2.0f;
  return book;
}
constexpr Codebook nf4 = withBounds(
    {{-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
      -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
      0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
     {}});
constexpr Codebook fp4 = withBounds(
    {{0.0f, 0.0052083334885537624f, 2.0f / 3, 1.0f, 1.0f / 3, 0.5f, 1.0f / 6, 0.25f, 0.0f, -0.0052083334885537624f, -2.0f / 3,
      -1.0f, -1.0f / 3, -0.5f, -1.0f / 6, -0.25f},
     {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3},
     {}});

GRAFT_INLINE int64_t blockOf(int64_t elements, int64_t scales) {
  int64_t block = 32;
  while (block < 4096 && (elements + block - 1) / block != scales) block *= 2;
  return block;
}

/** One weight's elements, singly. */
struct Elements {
  const uint8_t* codes;
  Scales scales;
  int64_t block, in;
  const float* values;

  GRAFT_INLINE float operator()(int64_t row, int64_t column) const {
    const int64_t e = row * in + column;
    const uint8_t byte = codes[e >> 1];
    return values[e % 2 == 0 ? byte >> 4 : byte & 15] * scales[e / block];
  }
};
GRAFT_INLINE Elements elementsOf(const graft_weight* w, const Codebook& book) {
  const Scales scales = scalesOf(w, 1);
  return {static_cast<const uint8_t*>(w->storage[0].data), scales, blockOf(w->out * w->in, scales.count), w->in, book.values};
}

#if GRAFT_SCALAR
template <const Codebook& book>
void row(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  const Elements elements = elementsOf(w, book);
  for (int64_t c = 0; c < cols; c++) dst[c] = elements(row, col0 + c);
}
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source), 0, row<book>, nullptr, nullptr, nullptr};
#else

/** Values of `lanes` codes, which lie in lanes / 2 bytes. */
GRAFT_INLINE Floats valuesOf(const uint8_t* bytes, const float* values) {
#if GRAFT_LANES == 8 && defined(__AVX2__)
  int32_t four;
  std::memcpy(&four, bytes, 4);
  // Each byte twice, the high nibble first.
  const __m128i doubled = _mm_shuffle_epi8(_mm_cvtsi32_si128(four), _mm_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i wide = _mm256_cvtepu8_epi32(doubled);
  const __m256i codes = _mm256_srlv_epi32(wide, _mm256_setr_epi32(4, 0, 4, 0, 4, 0, 4, 0));
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values), codes);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values + 8), codes);
  return bitsAs<Floats>(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28))));
#elif GRAFT_LANES == 16 && defined(__AVX512F__)
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)),
                                                              _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
  const __m512i shifts = _mm512_setr_epi32(4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0);
  const __m512i codes = _mm512_and_si512(_mm512_srlv_epi32(wide, shifts), _mm512_set1_epi32(15));
  return bitsAs<Floats>(_mm512_permutexvar_ps(codes, _mm512_loadu_ps(values)));
#else
  float found[lanes];
  for (int i = 0; i < lanes; i += 2) {
    found[i] = values[bytes[i / 2] >> 4];
    found[i + 1] = values[bytes[i / 2] & 15];
  }
  return loadFloats(found);
#endif
}

struct FourBitReader : ReaderOf<FourBitReader> {
  Elements elements;
  GRAFT_INLINE explicit FourBitReader(const Elements& elements) : elements(elements) {}

  GRAFT_INLINE Floats floats(int64_t row, int64_t column) const {
    const int64_t e = row * elements.in + column;
    if (e % lanes == 0) return valuesOf(elements.codes + e / 2, elements.values) * broadcast(elements.scales[e / elements.block]);
    return floatsPart(row, column, lanes); // a row that begins within a byte or a block
  }
  GRAFT_INLINE Floats floatsPart(int64_t row, int64_t column, int64_t count) const {
    float part[lanes] = {};
    for (int64_t i = 0; i < count; i++) part[i] = elements(row, column + i);
    return loadFloats(part);
  }
  GRAFT_INLINE void ahead(int64_t row, int64_t column, int64_t count) const {
    const uint8_t* at = elements.codes + (row * elements.in + column) / 2;
    for (int64_t b = 0; b < count / 2; b += 64) prefetch(at + b);
  }
};

template <const Codebook& book>
void row(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  copyRow(FourBitReader(elementsOf(w, book)), dst, row, col0, cols);
}
template <const Codebook& book, class Kind>
void fill(const graft_weight* w, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
          int64_t cols, int32_t transposed) {
  packBlock<Kind>(FourBitReader(elementsOf(w, book)), dst, width, row0, rows, col0, cols, transposed != 0);
}
template <const Codebook& book>
void dot(const graft_weight* w, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens, int64_t row0,
         int64_t rows) {
  dotBlock(FourBitReader(elementsOf(w, book)), y, yStride, x, xStride, tokens, row0, rows, w->in);
}
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source), 0, row<book>, fill<book, Singles>,
                                    multipliesPairs ? fill<book, Pairs> : nullptr, dot<book>};
#endif

/** Blocks to a task: some 64 K elements. */
constexpr int64_t elementsOfTask = 64 << 10;

/** packed u8 [ceil(n / 2)], absmax f32 [ceil(n / block)] from x [n]. */
template <const Codebook& book>
void quantize(const Call& call) {
  auto* packed = call[0].as<uint8_t>();
  auto* absmax = call[1].as<float>();
  const Operand& x = call[2];
  const auto block = static_cast<int64_t>(call.params[0]);
  const int64_t n = x.size(), each = elementsOfTask / block * block;
  constexpr float least = 1e-38f;
  call.pool.parallel((n + each - 1) / each, [&](int64_t task, int worker) {
    auto* values = static_cast<float*>(call.pool.scratch(worker));
    auto* places = reinterpret_cast<uint8_t*>(values + each);
    const int64_t first = task * each, count = n - first < each ? n - first : each;
    const Matrix matrix{x.data, x.dtype, n, true};
#if GRAFT_SCALAR
    for (int64_t i = 0; i < count; i++) values[i] = elementOf(matrix, 0, first + i);
#else
    readMatrix(matrix, [&](const auto& reader) { copyRow(reader, values, 0, first, count); });
#endif
    for (int64_t b = 0; b < count; b += block) {
      const bool partial = count - b < block;
      const int64_t end = partial ? count : b + block;
      float top = 0;
      for (int64_t i = b; i < end; i++) top = __builtin_fabsf(values[i]) > top ? __builtin_fabsf(values[i]) : top;
      absmax[(first + b) / block] = partial && top < least ? least : top;
      const float divisor = top < least ? least : top, reciprocal = 1.0f / divisor;
      for (int64_t i = b; i < end; i++) {
        float scaled = partial ? values[i] / divisor : values[i] * reciprocal;
        scaled = scaled > 1.0f ? 1.0f : scaled < -1.0f ? -1.0f : scaled;
        int place = 0;
        for (int j = 0; j < 15; j++) place += scaled > book.bounds[j];
        places[i] = static_cast<uint8_t>(place);
      }
    }
    if (count % 2 == 1) {
      int place = 0; // the padding of the last byte is a zero
      for (int j = 0; j < 15; j++) place += 0.0f > book.bounds[j];
      places[count] = static_cast<uint8_t>(place);
    }
    for (int64_t i = 0; i < count; i += 2)
      packed[(first + i) / 2] = static_cast<uint8_t>(book.order[places[i]] << 4 | book.order[places[i + 1]]);
  });
}

}  // namespace

void register_fourBit(Registry& registry) {
  registry.addPanelSource("nf4", &source<nf4>);
  registry.addPanelSource("fp4", &source<fp4>);
  registry.add("nf4.quantize", {"block"}, quantize<nf4>);
  registry.add("fp4.quantize", {"block"}, quantize<fp4>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
