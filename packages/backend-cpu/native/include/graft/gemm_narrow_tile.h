// The register tiles of narrow products (gemm_narrow.h): the long side is read where it lies.
//
// `tileAlong`: its outputs are rows. Vectors run along the narrow side's outputs, an element of a row is broadcast.
// `tileTurned`: likewise, for narrow sides that fill half a vector: squares of rows are transposed in registers, and vectors run
// along them. `tileAcross`: its outputs are columns. Vectors run along a strip of them.
//
// The narrow side is packed: step p is `ld` elements at a[p * ld]. Every sum is one chain of multiply-adds in the order of k,
// as in gemm_tile.h.
#pragma once

#include <graft/gemm_pack.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

/** Accumulators of a tile, as many as gemm_tile.h has. */
constexpr int narrowSums = tileRows * tileVectors;
/** Vectors of a tile along the narrow side: they and one of the long side must fit the registers too. */
constexpr int narrowVectors = lanes == 8 ? 3 : 4;
/** Rows of a tile along; where ld is a power of two more of them would share too few sets of the first-level cache. */
constexpr int narrowRowsAtMost = 12;
constexpr int narrowRows(int vectors) {
  return narrowSums / vectors < narrowRowsAtMost ? narrowSums / vectors : narrowRowsAtMost;
}
/** Up to so many outputs of the narrow side rows are turned: the vectors of a tile along would be half empty. */
constexpr int64_t turnedAtMost = lanes == 16 ? 8 : 0;
/** Steps that a strip is asked for ahead: its rows may lie whole pages apart, and all in one set of the first level. */
constexpr int64_t narrowAhead = lanes == 8 ? 12 : 6;
/** The same for the second level, which memory takes longer to reach. */
constexpr int64_t narrowFarAhead = 48;

/** Squares that rows to be turned are asked for ahead. */
constexpr int64_t turnedAhead = 3;

/** Elements of a cache line: in so many steps a tile along asks for a line of as many rows, its own being no more. */
constexpr int64_t lineElements = 16;
static_assert(narrowRowsAtMost <= lineElements);

/** c[i, v] (+)= sums: rows of c lie `ld` floats apart. */
template <int Rows, int Vectors>
GRAFT_INLINE void storeSums(float* c, int64_t ld, const Floats (*sums)[Vectors], bool add) {
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; v++) {
      float* at = c + i * ld + v * lanes;
      store(at, add ? loadFloats(at) + sums[i][v] : sums[i][v]);
    }
}
/** sums += a[0, Rows) . b, one step of the reduction. */
template <class Kind, int Rows, int Vectors>
GRAFT_INLINE void stepSums(Floats (*sums)[Vectors], const typename Kind::Element* a, const Words* b) {
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++) {
    const typename Kind::Vector x = broadcast(a[i]);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; v++) sums[i][v] = Kind::step(x, bitsAs<typename Kind::Vector>(b[v]), sums[i][v]);
  }
}

/**
 * What a tile along asks memory for, step by step: rows of elements, `stride` bytes apart, of the tile that is likely to
 * follow. Short stretches of many rows are nothing that the hardware would foresee.
 */
struct AskRows {
  const char* next;
  int64_t stride;
  const char* at = next;

  GRAFT_INLINE AskRows(const char* next, int64_t stride) : next(next), stride(stride) {}
  GRAFT_INLINE void step(int64_t p) {
    __builtin_prefetch(at);
    at = (p + 1) % lineElements == 0 ? next + (p + 1) * 4 : at + stride;
  }
};
/** Likewise, where a tile asks ahead: listed lines, evenly over k steps. */
struct AskLines {
  const void* const* lines;
  uint64_t ofStep, line = 0;

  GRAFT_INLINE AskLines(const Ahead& ahead, int64_t k)
      : lines(ahead.lines), ofStep((static_cast<uint64_t>(ahead.count) << 32) / static_cast<uint64_t>(k)) {}
  GRAFT_INLINE void step(int64_t) {
    __builtin_prefetch(lines[line >> 32], 0, 2);
    line += ofStep;
  }
};

/**
 * c[narrowRows, Vectors] (+)= rows . a: rows of elements lie `stride` bytes apart, those of c `ld` floats; k counts elements.
 * `ask` asks for what comes next meanwhile.
 */
template <class Kind, int Vectors, class Ask>
static void tileAlong(int64_t k, const char* rows, int64_t stride, Ask ask, const typename Kind::Element* a, int64_t ld, float* c,
                      bool add) {
  using Vector = typename Kind::Vector;
  constexpr int count = narrowRows(Vectors), threes = (count + 2) / 3;
  Floats sums[count][Vectors] = {};
  // A pointer to every third row, the others by one or two strides: as many registers as there are.
  const char* row[threes];
#pragma GCC unroll 4
  for (int q = 0; q < threes; q++) row[q] = rows + 3 * q * stride;
#pragma GCC unroll 1
  for (int64_t p = 0; p < k; p++, a += ld) {
    ask.step(p);
    Vector column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; v++) column[v] = Kind::load(a + v * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
      typename Kind::Element element;
      std::memcpy(&element, row[i / 3] + i % 3 * stride, sizeof element);
      const Vector x = broadcast(element);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; v++) sums[i][v] = Kind::step(x, column[v], sums[i][v]);
    }
#pragma GCC unroll 4
    for (int q = 0; q < threes; q++) {
      row[q] += sizeof(typename Kind::Element);
      asm("" : "+r"(row[q]));  // or each row gets a pointer, and most of them a place in memory
    }
  }
  storeSums<count, Vectors>(c, ld, sums, add);
}

/** Asks for a stretch of a row to be brought to the second-level cache. */
template <class T>
GRAFT_INLINE void askFar(const DenseReader<T>& reader, int64_t row, int64_t column, int64_t count) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t c = 0; c < count; c += line) __builtin_prefetch(reader.at(row, column + c), 0, 2);
}

/** c[Rows, tileVectors] (+)= a . b, where b is rows [row, row + tileWidth) from column k0 on. */
template <class Kind, int Rows, class Reader>
static void tileTurned(Reader reader, int64_t row, int64_t k0, int64_t k, const typename Kind::Element* a, int64_t ld, float* c,
                       bool add) {
  constexpr int64_t step = Kind::perElement * lanes;
  Floats sums[Rows][tileVectors] = {};
  alignas(64) uint32_t turned[lanes * tileWidth];
  for (int64_t p = 0; p < k; p += step) {
    for (int64_t q = 0; q < tileWidth; q++) askFar(reader, row + q, k0 + p + turnedAhead * step, step);
    for (int v = 0; v < tileVectors; v++) {
      Words square[lanes];
      if (k - p >= step) {
#pragma GCC unroll 16
        for (int q = 0; q < lanes; q++) square[q] = readAlong<Kind>(reader, row + v * lanes + q, k0 + p);
      } else {
        for (int q = 0; q < lanes; q++) square[q] = readAlongPart<Kind>(reader, row + v * lanes + q, k0 + p, k - p);
      }
      transpose(square);
#pragma GCC unroll 16
      for (int q = 0; q < lanes; q++) storeWords(turned + q * tileWidth + v * lanes, square[q]);
    }
    const int64_t elements = smaller(lanes, ceilDiv(k - p, Kind::perElement));
#pragma GCC unroll 1
    for (int64_t q = 0; q < elements; q++, a += ld) {
      Words b[tileVectors];
#pragma GCC unroll 4
      for (int v = 0; v < tileVectors; v++) b[v] = loadWords(turned + q * tileWidth + v * lanes);
      stepSums<Kind, Rows>(sums, a, b);
    }
  }
  storeSums<Rows, tileVectors>(c, tileWidth, sums, add);
}

/** A strip that an earlier tile left packed: rows are elements. */
struct StripReader {
  const uint32_t* strip;
  GRAFT_INLINE void ahead(int64_t, int64_t, int64_t) const {}
};
GRAFT_INLINE void askFar(const StripReader&, int64_t, int64_t, int64_t) {}
template <class Kind>
GRAFT_INLINE void readStrip(const StripReader& reader, int64_t row, int64_t, bool, Words* b) {
  for (int v = 0; v < tileVectors; v++) b[v] = loadWords(reader.strip + row / Kind::perElement * tileWidth + v * lanes);
}

/**
 * c[Rows, tileVectors] (+)= a . b, where b is columns [column, column + tileWidth) of k rows from `row` on; `Keep`: b is left
 * packed in `strip`, whose places for a StripReader are `row` and `column` 0.
 */
template <class Kind, int Rows, bool Keep, class Reader>
static void tileAcross(Reader reader, int64_t row, int64_t column, int64_t k, const typename Kind::Element* a, int64_t ld,
                       float* c, bool add, uint32_t* strip) {
  Floats sums[Rows][tileVectors] = {};
  const auto step = [&](int64_t p, bool both) __attribute__((always_inline)) {
    Words b[tileVectors];
    readStrip<Kind>(reader, row + p, column, both, b);
    if constexpr (Keep) {
#pragma GCC unroll 4
      for (int v = 0; v < tileVectors; v++) storeWords(strip + v * lanes, b[v]);
      strip += tileWidth;
    }
    stepSums<Kind, Rows>(sums, a, b);
    a += ld;
  };
  int64_t p = 0;
#pragma GCC unroll 1
  for (; p + Kind::perElement <= k; p += Kind::perElement) {
    for (int s = 0; s < Kind::perElement; s++) {
      reader.ahead(row + p + narrowAhead * Kind::perElement + s, column, tileWidth);
      askFar(reader, row + p + narrowFarAhead * Kind::perElement + s, column, tileWidth);
    }
    step(p, true);
  }
  if (p < k) step(p, false);
  storeSums<Rows, tileVectors>(c, tileWidth, sums, add);
}

/** The tile of `rows` rows, an even number from 2 to `Rows`. */
template <class Kind, bool Keep, int Rows = tileRows, class Reader, class... More>
GRAFT_INLINE void runTileAcross(int64_t rows, const Reader& reader, More... more) {
  static_assert(tileRows % 2 == 0);
  if constexpr (Rows > 2) {
    if (rows != Rows) {
      runTileAcross<Kind, Keep, Rows - 2>(rows, reader, more...);
      return;
    }
  }
  tileAcross<Kind, Rows, Keep>(reader, more...);
}
template <class Kind, class... More>
GRAFT_INLINE void runTileAlong(int64_t vectors, More... more) {
  if (vectors == 1) tileAlong<Kind, 1>(more...);
  if (vectors == 2) tileAlong<Kind, 2>(more...);
  if (vectors == 3) tileAlong<Kind, 3>(more...);
  if constexpr (narrowVectors > 3)
    if (vectors == 4) tileAlong<Kind, 4>(more...);
}

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
