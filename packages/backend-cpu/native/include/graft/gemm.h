// Matrix product over panels: out[m, n] = finish(sum over terms of A[m, k] . B[k, n]).
//
// Both sides are read through a `Filler` that packs a block into panels, so an operand may be a dense matrix, transposed or
// not, or a weight in any storage (PanelSource): dequantisation is part of packing. Several terms make one sum: a low-rank
// tail, x W^T + h B^T, is a second term. `Finish` takes each tile of the sum once, complete, in f32: it scales, rounds,
// accumulates, or does what a fused operator wants done with it.
//
// Blocking (docs/kernels.md has the figures): A's rows are packed once, by all workers, into the shared scratch. Then each
// task takes a block of columns, and for one slice of k after another packs that block of B (in the second-level cache) and
// multiplies every tile of rows by each of its panels (in the first). Partial tiles wait in the worker's scratch, tile by
// tile. A slice's sum is one chain of multiply-adds; slices are added in order. Slices are cut by k alone, so the bits of a
// result depend neither on threads nor on m, n or the blocks that it falls in.
#pragma once

#include <graft/gemm_fill.h>

#if !GRAFT_SCALAR

namespace graft {
namespace GRAFT_ISA {
namespace panels {

struct Term {
  int64_t k;
  Filler a;
  Filler b;
};

struct Finish {
  const void* self;
  /** Takes the finished sums of rows x columns at (row, column), `ld` floats from row to row. Called from any worker. */
  void (*finish)(const void* self, const float* sums, int64_t ld, int64_t row, int64_t rows, int64_t column,
                 int64_t columns);
};

constexpr int maxTerms = 4;

// Cache sizes that the blocks are cut for; the same on all machines, or bits would differ between them.
constexpr int64_t packedRowsBytes = int64_t{12} << 20;   // A as packed, in the third-level cache, if that leaves enough rows
constexpr int64_t fewRows = 384;                         // so many rows repay packing B
constexpr int64_t rowsOfTask = 1024;                     // tiles that wait in a worker's scratch
constexpr int64_t columnBlockBytes = int64_t{64} << 10;  // a block of B, in the second-level cache
constexpr int64_t slackBytes = 256;                      // reads past the last panel

/** The k slices of a product and where they lie. */
template <class Kind>
struct Slices {
  const Term* terms;
  int64_t starts[maxTerms + 1];  // the first slice of each term

  int64_t count() const { return starts[maxTerms]; }
  struct Slice {
    const Term* term;
    int64_t k0, k, elements;
  };
  GRAFT_INLINE Slice operator[](int64_t index) const {
    int t = 0;
    while (index >= starts[t + 1]) t++;
    const int64_t of = starts[t + 1] - starts[t], k = terms[t].k;
    // Equal slices, in steps of 8 so that vectors stay whole and pairs are not cut.
    const int64_t step = multipleUp(ceilDiv(k, of), 8), k0 = (index - starts[t]) * step;
    const int64_t length = smaller(step, k - k0);
    return {&terms[t], k0, length, ceilDiv(length, Kind::perElement)};
  }
};

template <class Kind>
GRAFT_INLINE Slices<Kind> slicesOf(const Term* terms, int termCount) {
  Slices<Kind> slices{terms, {}};
  for (int t = 0; t < maxTerms; t++) {
    int64_t of = 0;
    if (t < termCount && terms[t].k > 0) {
      of = ceilDiv(terms[t].k, Kind::slice);
      // Rounding up to 8 may leave the last slice empty.
      of = ceilDiv(terms[t].k, multipleUp(ceilDiv(terms[t].k, of), 8));
    }
    slices.starts[t + 1] = slices.starts[t] + of;
  }
  return slices;
}

/** Rows cut into tiles whose sizes differ by at most one. */
struct Tiles {
  int64_t rows, count, base, extra;

  GRAFT_INLINE int64_t start(int64_t t) const { return t * base + smaller(t, extra); }
  GRAFT_INLINE int64_t size(int64_t t) const { return base + (t < extra ? 1 : 0); }
};
GRAFT_INLINE Tiles tilesOf(int64_t rows) {
  const int64_t count = ceilDiv(rows, tileRows);
  return {rows, count, rows / count, rows % count};
}

/** One pass: some rows, some columns, some slices; what the tasks of one product share. */
template <class Kind>
struct Pass {
  Slices<Kind> slices;
  int64_t firstSlice, endSlice;
  int64_t row0, column0, columns;
  Tiles tiles;
  typename Kind::Element* packed;  // A: slice after slice, tile after tile
  float* sums;                     // tiles that wait from pass to pass, or null: in the worker's scratch
  int64_t blockColumns, parts;
  int64_t blockBytes, fillBytes;   // a block of B as packed, and as f32 rows for sources that only give rows
  const Finish* finish;

  GRAFT_INLINE int64_t sliceOffset(int64_t slice) const {
    int64_t elements = 0;
    for (int64_t s = firstSlice; s < slice; s++) elements += slices[s].elements;
    return elements * tiles.rows;
  }
};

/** Packs tiles [from, to) of A for one slice: at most two runs of tiles of equal size. */
template <class Kind>
GRAFT_INLINE void packRows(const Pass<Kind>& pass, int64_t slice, int64_t from, int64_t to, void* scratch) {
  const auto part = pass.slices[slice];
  typename Kind::Element* base = pass.packed + pass.sliceOffset(slice);
  while (from < to) {
    const int64_t end = from < pass.tiles.extra ? smaller(to, pass.tiles.extra) : to;
    const int64_t start = pass.tiles.start(from);
    part.term->a.fill(part.term->a.self, base + start * part.elements, pass.tiles.size(from), pass.row0 + start,
                      pass.tiles.start(end) - start, part.k0, part.k, scratch);
    from = end;
  }
}

/** Columns by a slice small enough for the first-level cache: rows outside, so that the output is written along its rows. */
GRAFT_INLINE bool fitsFirstLevel(int64_t columns, int64_t elements) { return columns * elements * 4 <= 16 << 10; }

/** Multiplies a block of columns by a part of the tiles, over the slices of the pass. `nextBlock` is likely to follow. */
template <class Kind>
GRAFT_INLINE void multiplyBlock(const Pass<Kind>& pass, int64_t block, int64_t part, int64_t nextBlock, unsigned char* scratch) {
  const int64_t column0 = block * pass.blockColumns, columns = smaller(pass.blockColumns, pass.columns - column0);
  const int64_t panels = ceilDiv(columns, tileWidth);
  const int64_t from = pass.tiles.count * part / pass.parts, to = pass.tiles.count * (part + 1) / pass.parts;
  constexpr int64_t tileFloats = tileRows * tileWidth;

  typename Kind::Element* packedColumns = reinterpret_cast<typename Kind::Element*>(scratch);
  unsigned char* fillScratch = scratch + pass.blockBytes;
  float* waiting = pass.sums != nullptr
                       ? pass.sums + (column0 / tileWidth * pass.tiles.count + from * panels) * tileFloats
                       : reinterpret_cast<float*>(fillScratch + pass.fillBytes);
  const int64_t allSlices = pass.slices.count();
  alignas(64) float single[tileFloats];
  Lookout lookout;

  // Panels that are packed at once. Where a row of memory goes along k, one: it is used from the first-level cache as it is
  // packed, and few rows are read at a time. Else all: the columns of a block lie side by side.
  const auto together = [&](int64_t s) {
    const auto slice = pass.slices[s];
    return slice.term->b.along && !fitsFirstLevel(columns, slice.elements) ? 1 : panels;
  };
  // What is packed after panel `panel` of slice s.
  const auto listNext = [&](int64_t s, int64_t panel) {
    return [&pass, &together, s, panel, panels, column0, columns, nextBlock](const void** lines, int64_t room) -> int64_t {
      int64_t nextSlice = s, first = (panel + 1) * tileWidth, at = column0, width = columns;
      if (panel + 1 == panels) nextSlice++, first = 0;
      if (nextSlice == pass.endSlice) {
        if (nextBlock < 0) return 0;
        nextSlice = pass.firstSlice;
        at = nextBlock * pass.blockColumns;
        width = smaller(pass.blockColumns, pass.columns - at);
      }
      const auto slice = pass.slices[nextSlice];
      const Filler& b = slice.term->b;
      return b.list(b.self, lines, room, pass.column0 + at + first, smaller(together(nextSlice) * tileWidth, width - first), slice.k0,
                    slice.k);
    };
  };

  int64_t offset = pass.sliceOffset(pass.firstSlice);
  for (int64_t s = pass.firstSlice; s < pass.endSlice; s++) {
    const auto slice = pass.slices[s];
    const Filler& b = slice.term->b;
    const typename Kind::Element* packedRows = pass.packed + offset;
    const auto one = [&](int64_t t, int64_t panel, int64_t first) {
      const int64_t rows = pass.tiles.size(t), start = pass.tiles.start(t);
      float* sums = allSlices == 1 ? single : waiting + ((t - from) * panels + panel) * tileFloats;
      tileOf<Kind>(rows)(slice.elements, packedRows + start * slice.elements,
                         packedColumns + (panel - first) * slice.elements * tileWidth, sums, s > 0, lookout.share());
      if (s + 1 == allSlices)
        pass.finish->finish(pass.finish->self, sums, tileWidth, pass.row0 + start, rows,
                            pass.column0 + column0 + panel * tileWidth,
                            smaller(tileWidth, columns - panel * tileWidth));
    };
    const int64_t some = together(s);
    for (int64_t first = 0; first < panels; first += some) {
      b.fill(b.self, packedColumns, tileWidth, pass.column0 + column0 + first * tileWidth,
             smaller(some * tileWidth, columns - first * tileWidth), slice.k0, slice.k, fillScratch);
      lookout.over(some * (to - from), listNext(s, first + some - 1));
      if (fitsFirstLevel(columns, slice.elements)) {
        for (int64_t t = from; t < to; t++)
          for (int64_t panel = 0; panel < panels; panel++) one(t, panel, 0);
      } else {
        for (int64_t panel = first; panel < first + some; panel++)
          for (int64_t t = from; t < to; t++) one(t, panel, first);
      }
    }
    offset += slice.elements * pass.tiles.rows;
  }
}

/** Packs A's rows, then runs the blocks. */
template <class Kind>
GRAFT_INLINE void runPass(const Pool& pool, Pass<Kind>& pass) {
  constexpr int64_t tilesOfTask = 16;
  const int64_t groups = ceilDiv(pass.tiles.count, tilesOfTask);
  const int64_t slices = pass.endSlice - pass.firstSlice;
  pool.parallel(groups * slices, [&](int64_t index, int worker) {
    const int64_t group = index % groups;
    packRows(pass, pass.firstSlice + index / groups, group * tilesOfTask,
             smaller(pass.tiles.count, (group + 1) * tilesOfTask), pool.scratch(worker));
  });
  const int64_t blocks = ceilDiv(pass.columns, pass.blockColumns);
  pool.parallel(blocks * pass.parts, [&](int64_t index, int worker) {
    // Indices are handed out in order: while this one runs, the others take one each.
    const int64_t next = index + pool.threads < blocks * pass.parts ? (index + pool.threads) % blocks : -1;
    multiplyBlock(pass, index % blocks, index / blocks, next, static_cast<unsigned char*>(pool.scratch(worker)));
  });
}

/** out[m, n] = finish(sum of terms); a product with nothing to sum finishes zeros. */
template <class Kind>
static inline void multiply(const Pool& pool, int64_t m, int64_t n, const Term* terms, int termCount, const Finish& finish) {
  if (m <= 0 || n <= 0) return;
  Pass<Kind> pass{};
  pass.slices = slicesOf<Kind>(terms, termCount);
  pass.finish = &finish;
  const int64_t slices = pass.slices.count();
  if (slices == 0) {
    alignas(64) const float zeros[tileRows * tileWidth] = {};
    for (int64_t i = 0; i < m; i += tileRows)
      for (int64_t j = 0; j < n; j += tileWidth)
        finish.finish(finish.self, zeros, tileWidth, i, smaller(tileRows, m - i), j, smaller(tileWidth, n - j));
    return;
  }

  int64_t rowBytes = 0, firstBytes = 0, longest = 0;
  for (int64_t s = 0; s < slices; s++) {
    rowBytes += pass.slices[s].elements * 4;
    if (pass.slices[s].term == terms) firstBytes = rowBytes;
    longest = larger(longest, pass.slices[s].elements);
  }
  // Rows of a pass: as many as the third-level cache holds; more, up to the scratch, if they would be too few to repay
  // packing B; and if they still are, k is split over passes and the sums wait in the scratch too.
  const int64_t room = static_cast<int64_t>(pool.sharedBytes) - slackBytes;
  const int64_t wanted = smaller(m, fewRows);
  int64_t rows = smaller(packedRowsBytes / larger(1, firstBytes), room / rowBytes);  // a short tail makes no pass more
  if (rows < wanted) rows = smaller(wanted, room / rowBytes);
  const bool split = rows < wanted;
  if (split) rows = wanted;
  rows = ceilDiv(m, ceilDiv(m, smaller(rows, m)));

  int64_t columns = n, slicesOfPass = slices;
  const int64_t splitSumsBytes = room * 3 / 8 / 64 * 64;
  if (split) {
    columns = smaller(n, larger(tileWidth, splitSumsBytes / (4 * multipleUp(rows, tileRows)) / tileWidth * tileWidth));
    slicesOfPass = larger(1, (room - splitSumsBytes - slackBytes) / (rows * longest * 4));
    pass.sums = static_cast<float*>(pool.shared());
  }
  pass.packed = reinterpret_cast<typename Kind::Element*>(static_cast<unsigned char*>(pool.shared()) +
                                                           (split ? splitSumsBytes + slackBytes : 0));

  // Four panels to a block, more of them where slices are short.
  const int64_t wide = larger(4 * tileWidth, smaller(32 * tileWidth, columnBlockBytes / (4 * longest) / tileWidth * tileWidth));
  const int64_t blocks = ceilDiv(columns, wide);
  pass.blockColumns = multipleUp(ceilDiv(columns, blocks), tileWidth);
  pass.blockBytes = multipleUp(pass.blockColumns * longest * 4 + slackBytes, 64);
  pass.fillBytes = multipleUp(pass.blockColumns * longest * Kind::perElement * 4 + slackBytes, 64);

  for (int64_t row = 0; row < m; row += rows) {
    pass.row0 = row;
    pass.tiles = tilesOf(smaller(rows, m - row));
    // Enough tasks for the workers to end together, but none of so few rows that packing B again for it would show.
    const int64_t most = ceilDiv(pass.tiles.count * tileRows, rowsOfTask);
    const int64_t byWorkers = smaller(ceilDiv(8 * pool.threads, ceilDiv(columns, pass.blockColumns)),
                                      pass.tiles.count * tileRows / 128);
    pass.parts = larger(1, larger(most, byWorkers));
    for (int64_t column = 0; column < n; column += columns) {
      pass.column0 = column;
      pass.columns = smaller(columns, n - column);
      for (int64_t s = 0; s < slices; s += slicesOfPass) {
        pass.firstSlice = s;
        pass.endSlice = smaller(slices, s + slicesOfPass);
        runPass(pool, pass);
      }
    }
  }
}

/** One row of sums; `Columns` is its length where that is known and a multiple of lanes, else 0. */
template <class T, bool Accumulate, int Columns>
GRAFT_INLINE void finishRow(T* at, const float* sums, float scale, int64_t columns) {
  const int64_t length = Columns > 0 ? Columns : columns;
  int64_t j = 0;
  for (; j + lanes <= length; j += lanes) {
    const Floats value = scale * load(sums + j);
    store(at + j, Accumulate ? load(at + j) + value : value);
  }
  if constexpr (Columns == 0)
    for (; j < length; j++) put(at + j, scale * sums[j], Accumulate);
}
template <class T, bool Accumulate>
GRAFT_INLINE void finishRows(const Output& out, T* at, const float* sums, int64_t ld, int64_t rows, int64_t columns) {
  if (columns == tileWidth) {
    for (int64_t i = 0; i < rows; i++) finishRow<T, Accumulate, tileWidth>(at + i * out.ld, sums + i * ld, out.scale, columns);
  } else {
    for (int64_t i = 0; i < rows; i++) finishRow<T, Accumulate, 0>(at + i * out.ld, sums + i * ld, out.scale, columns);
  }
}
template <class T>
GRAFT_INLINE void finishAs(const Output& out, const float* sums, int64_t ld, int64_t row, int64_t rows, int64_t column,
                           int64_t columns) {
  T* data = static_cast<T*>(out.data);
  if (out.flipped) {
    for (int64_t j = 0; j < columns; j++)
      for (int64_t i = 0; i < rows; i++)
        put(data + (column + j) * out.ld + row + i, out.scale * sums[i * ld + j], out.accumulate);
  } else if (out.accumulate) {
    finishRows<T, true>(out, data + row * out.ld + column, sums, ld, rows, columns);
  } else {
    finishRows<T, false>(out, data + row * out.ld + column, sums, ld, rows, columns);
  }
}
static inline void finishOutput(const void* self, const float* sums, int64_t ld, int64_t row, int64_t rows,
                                int64_t column, int64_t columns) {
  const Output& out = *static_cast<const Output*>(self);
  if (out.dtype == DType::f32) {
    finishAs<float>(out, sums, ld, row, rows, column, columns);
  } else {
    finishAs<BF16>(out, sums, ld, row, rows, column, columns);
  }
}
GRAFT_INLINE Finish finishOf(const Output& output) { return {&output, finishOutput}; }

}  // namespace panels
}  // namespace GRAFT_ISA
}  // namespace graft

#endif
