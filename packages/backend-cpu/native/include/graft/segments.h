// What attention's kernels share: which rows of q, k and v belong together, and the plain formula for one row.
//
// segments i32 [n, 4] = (query start, queries, key start, keys): query i of a segment sees its first
// (keys − queries) + i + 1 keys, of which a sliding window of w > 0 leaves the last w. q [tokens, heads · headDim], k and v [keys, kvHeads · headDim]; head h reads
// kv head ⌊h · kvHeads / heads⌋.
#pragma once

#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

struct Segment {
  int64_t query, queries, key, keys;
  /** 0: none. */
  int64_t window = 0;
  /** Query `i` sees the keys [hidden(i), visible(i)); visible 0 or less: none. */
  GRAFT_INLINE int64_t visible(int64_t i) const { return smaller(keys, keys - queries + i + 1); }
  GRAFT_INLINE int64_t hidden(int64_t i) const { return window > 0 ? larger<int64_t>(0, visible(i) - window) : 0; }
};

struct Segments {
  const int32_t* rows;
  int64_t count, tokens, keys, window;

  /** Segment `index`; an empty one if it reaches past the rows of q or k, for the numbers come from the device unchecked. */
  GRAFT_INLINE Segment operator[](int64_t index) const {
    const int32_t* row = rows + 4 * index;
    const Segment s{row[0], row[1], row[2], row[3], window};
    const bool inside = s.query >= 0 && s.queries >= 0 && s.key >= 0 && s.keys >= 0 && s.query + s.queries <= tokens &&
                        s.key + s.keys <= keys;
    return inside ? s : Segment{0, 0, 0, 0, 0};
  }
};

struct Heads {
  int64_t heads, kvHeads, headDim;
  GRAFT_INLINE int64_t kvHeadOf(int64_t h) const { return h * kvHeads / heads; }
  /** The heads of kv head c are [first(c), first(c + 1)). */
  GRAFT_INLINE int64_t first(int64_t c) const { return ceilDiv(c * heads, kvHeads); }
  /** The most heads that one kv head has. */
  GRAFT_INLINE int64_t group() const { return ceilDiv(heads, kvHeads); }
};

/** [begin, begin + count) of the queries, or of the keys, of each segment. */
struct Range {
  int64_t begin, count;
};
GRAFT_INLINE auto queriesOf(const Segments& segments) {
  return [=](int64_t index) { return Range{segments[index].query, segments[index].queries}; };
}
GRAFT_INLINE auto keysOf(const Segments& segments) {
  // A segment without queries names no keys: nobody reads them.
  return [=](int64_t index) { return Range{segments[index].key, segments[index].queries > 0 ? segments[index].keys : 0}; };
}

/** visit(first, end) for each maximal range of the rows [0, rows) that is in none of the `count` ranges, in order. */
template <class RangeOf, class Visit>
GRAFT_INLINE void eachUnnamed(int64_t rows, int64_t count, const RangeOf& rangeOf, const Visit& visit) {
  int64_t row = 0, hint = 0;
  while (row < rows) {
    // The next range in line mostly begins right here; otherwise all are searched.
    bool named = false;
    int64_t next = rows;
    for (int64_t step = 0; step < count && !named; step++) {
      const int64_t index = (hint + step) % count;
      const Range range = rangeOf(index);
      if (range.count == 0) continue;
      if (range.begin <= row && row < range.begin + range.count) {
        row = range.begin + range.count;
        hint = index + 1;
        named = true;
      } else if (range.begin > row) {
        next = smaller(next, range.begin);
      }
    }
    if (named) continue;
    visit(row, next);
    row = next;
  }
}

/**
 * Attention is cut into tasks by size alone: a kv head of a segment and some of its rows, a row being a query with one of
 * the heads of that kv head, so that keys and values are read once for all of them. Row r is query r / group and head
 * r % group of the kv head's.
 */
struct Rows {
  Segment segment;
  int64_t kvHead, head, group;  // `group` heads from `head` on
  int64_t begin, end;
  /** 2^64 / group, rounded up: the upper half of a product with it is the quotient of any row, and a division takes six times as long. */
  uint64_t inverse = group > 1 ? ~uint64_t{0} / uint64_t(group) + 1 : 0;
  GRAFT_INLINE int64_t query(int64_t r) const {
    return group > 1 ? int64_t(static_cast<unsigned __int128>(uint64_t(r)) * inverse >> 64) : r;
  }
  /** The row of q that row r lies in. */
  GRAFT_INLINE int64_t token(int64_t r) const { return segment.query + query(r); }
  GRAFT_INLINE int64_t headOf(int64_t r) const { return head + r - query(r) * group; }
  GRAFT_INLINE int64_t visible(int64_t r) const { return segment.visible(query(r)); }
  GRAFT_INLINE int64_t hidden(int64_t r) const { return segment.hidden(query(r)); }
};

/** visit(rows, worker) in parallel for all rows of all segments, `together` rows a task. */
template <class Visit>
GRAFT_INLINE void eachRows(const Pool& pool, const Segments& segments, const Heads& heads, int64_t together, const Visit& visit) {
  const auto tiles = [&](const Segment& s) { return s.queries > 0 ? (s.queries * heads.group() - 1) / together + 1 : 0; };
  int64_t count = 0;
  for (int64_t i = 0; i < segments.count; i++) count += tiles(segments[i]) * heads.kvHeads;
  pool.parallel(count, [&](int64_t task, int worker) {
    int64_t index = 0, left = task;
    for (; left >= tiles(segments[index]) * heads.kvHeads; index++) left -= tiles(segments[index]) * heads.kvHeads;
    const Segment segment = segments[index];
    const int64_t c = left % heads.kvHeads, head = heads.first(c), group = heads.first(c + 1) - head;
    // The last rows see the most keys: they go first, so that no worker begins a long task at the end.
    const int64_t tile = tiles(segment) - 1 - left / heads.kvHeads, rows = segment.queries * group;
    const int64_t begin = smaller(rows, tile * together);
    const Rows part{segment, c, head, group, begin, begin + smaller(together, rows - begin)};
    if (part.begin < part.end) visit(part, worker);
  });
}

/** Arrays of `n` floats, or of words as wide, cut from a worker's scratch. */
struct Scratch {
  float* next;
  template <class T = float>
  GRAFT_INLINE T* take(int64_t n) {
    static_assert(sizeof(T) == sizeof(float));
    float* taken = next;
    next += ceilDiv(n, 16) * 16;  // 64-byte aligned
    return reinterpret_cast<T*>(taken);
  }
};

}  // namespace GRAFT_ISA
}  // namespace graft
