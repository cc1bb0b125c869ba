// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// The panel sources `nf4` and `fp4`: codes are decoded row by row into the first-level cache while a panel is packed, and
// nowhere else. And the scale format `f32`: the scales themselves.

#include "dot.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

template <const Codebook& book, class T>
void row(const graft_weight* w, T* dst, int64_t row, int64_t col0, int64_t cols) {
  decode<book>(FourBitWeight(w), dst, row * w->in + col0, cols);
}

#if GRAFT_SCALAR
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source), 0, row<book>, nullptr, nullptr, nullptr, row<book>};
#else

/** Bytes of decoded rows that are packed at once. */
constexpr int64_t decodedBytes = 16 << 10;
/** Rows ahead of which codes are fetched where rows lie far apart. */
constexpr int64_t rowsAhead = 8;

template <class Kind>
struct Decoded;
template <>
struct Decoded<Singles> {
  using Element = float;
  using Stored = float;
};
template <>
struct Decoded<Pairs> {
  using Element = uint16_t;
  using Stored = BF16;
};

template <const Codebook& book, class Kind>
void fill(const graft_weight* weight, typename Kind::Element* dst, int64_t width, int64_t row0, int64_t rows, int64_t col0,
          int64_t cols, int32_t transposed) {
  using Element = typename Decoded<Kind>::Element;
  using Reader = DenseReader<typename Decoded<Kind>::Stored>;
  constexpr int64_t capacity = decodedBytes / static_cast<int64_t>(sizeof(Element));
  alignas(64) Element decoded[capacity];
  const FourBitWeight w(weight);
  const auto decodeRow = [&](Element* to, int64_t row, int64_t column, int64_t count) {
    decode<book>(w, to, row * w.in + column, count);
  };
  if (transposed == 0) {  // outputs are rows: a panel's rows at a time, as many columns as there is room for
    const int64_t elements = ceilDiv(cols, Kind::perElement);
    const int64_t room = larger(2, capacity / width / 64 * 64);
    for (int64_t o = 0; o < rows; o += width) {
      const int64_t outputs = smaller(width, rows - o);
      for (int64_t c = 0; c < cols; c += room) {
        const int64_t count = smaller(room, cols - c);
        for (int64_t r = 0; r < outputs; r++) decodeRow(decoded + r * room, row0 + o + r, col0 + c, count);
        packAlong<Kind>(Reader(decoded, room), dst + o * elements + c / Kind::perElement * width, width, 0, outputs, 0, count);
      }
    }
  } else {  // outputs are columns: some rows at a time, of all panels as far as there is room
    const int64_t elements = ceilDiv(rows, Kind::perElement);
    const int64_t wide = smaller(multipleUp(cols, width), larger(width, capacity / 16 / width * width));
    const int64_t room = larger(2, capacity / wide / 2 * 2);
    for (int64_t c = 0; c < cols; c += wide) {
      const int64_t columns = smaller(wide, cols - c);
      for (int64_t p = 0; p < rows; p += room) {
        const int64_t steps = smaller(room, rows - p);
        for (int64_t r = 0; r < steps; r++) {
          const uint8_t* codes = w.codes + ((row0 + p + r + rowsAhead) * w.in + col0 + c) / 2;
          for (int64_t b = 0; b < columns / 2; b += 64) prefetch(codes + b);
          decodeRow(decoded + r * wide, row0 + p + r, col0 + c, columns);
        }
        for (int64_t o = 0; o < columns; o += width)
          packAcross<Kind>(Reader(decoded + o, wide), dst + (c + o) * elements + p / Kind::perElement * width, width, 0, steps,
                           0, smaller(width, columns - o));
      }
    }
  }
}

template <const Codebook& book>
void dot(const graft_weight* weight, float* y, int64_t yStride, const float* x, int64_t xStride, int64_t tokens,
         int64_t row0, int64_t rows) {
  const FourBitWeight w(weight);
  if (tokens == 1) dotFourBits<book, 1>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 2) dotFourBits<book, 2>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 3) dotFourBits<book, 3>(w, y, yStride, x, xStride, row0, rows);
  if (tokens == 4) dotFourBits<book, 4>(w, y, yStride, x, xStride, row0, rows);
}
template <const Codebook& book>
constexpr graft_panel_source source{sizeof(graft_panel_source),
                                    0,
                                    row<book>,
                                    fill<book, Singles>,
                                    multipliesPairs ? fill<book, Pairs> : nullptr,
                                    dot<book>,
                                    row<book>};
#endif

int64_t countScales(const graft_operand* storage) {
  return storage->shape[0] * storage->shape[1] * storage->shape[2] * storage->shape[3];
}
void readScales(const graft_operand* storage, float* dst, int64_t first, int64_t count) {
  const float* from = static_cast<const float*>(storage->data) + first;
  for (int64_t i = 0; i < count; i++) dst[i] = from[i];
}
constexpr graft_scale_reader plainScales{sizeof(graft_scale_reader), 1, countScales, readScales};

}  // namespace

void register_fourBit(Registry& registry) {
  registry.addPanelSource("nf4", &source<nf4>);
  registry.addPanelSource("fp4", &source<fp4>);
  registry.addScaleReader("f32", &plainScales);
}

}  // namespace GRAFT_ISA
}  // namespace graft
