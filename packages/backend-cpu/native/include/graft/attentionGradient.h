// The backward pass of attention: its operands, and the formula one row and one key at a time (the notation is that of
// kernels/attentionBackward.cc). The tiled version and the plain one are interchangeable task by task.
#pragma once

#include <graft/segments.h>

namespace graft {
namespace GRAFT_ISA {

struct Gradient {
  const Operand &dq, &dk, &dv, &dout, &out, &lse, &q, &k, &v;
  float* delta;
  Heads heads;
  float scale, softCap;

  GRAFT_INLINE int64_t statisticAt(const Rows& rows, int64_t r) const {
    return rows.token(r) * heads.heads + rows.headOf(r);
  }
  GRAFT_INLINE int64_t queryAt(const Rows& rows, int64_t r) const { return statisticAt(rows, r) * heads.headDim; }
  GRAFT_INLINE int64_t keyAt(int64_t key, int64_t kvHead) const { return (key * heads.kvHeads + kvHead) * heads.headDim; }
  GRAFT_INLINE float lseAt(const Rows& rows, int64_t r) const { return lse.as<float>()[statisticAt(rows, r)]; }
  GRAFT_INLINE float deltaAt(const Rows& rows, int64_t r) const { return delta[statisticAt(rows, r)]; }
};

/** Keys [begin, end) of one kv head, whatever segments they lie in. */
struct Keys {
  int64_t kvHead, begin, end;
};

/** p and ds of row r and key j, given q, k, dout and v of headDim elements each. */
struct Pair {
  double p, ds;
};
static Pair pairOf(const Gradient& call, const Rows& rows, int64_t r, const float* q, const float* k, const float* dout, const float* v) {
  double score = 0, product = 0;
  for (int64_t i = 0; i < call.heads.headDim; i++) {
    score += double(q[i]) * k[i];
    product += double(dout[i]) * v[i];
  }
  const double c = call.softCap, raw = score * call.scale, bent = c > 0 ? __builtin_tanh(raw / c) : 0;
  const double p = __builtin_exp((c > 0 ? c * bent : raw) - call.lseAt(rows, r));
  return {p, p * (product - call.deltaAt(rows, r)) * (1 - bent * bent)};
}

static void gradeQueriesPlainly(const Gradient& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim;
  float *query = scratch.take(n), *dout = scratch.take(n), *key = scratch.take(n), *value = scratch.take(n), *result = scratch.take(n);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    copyWidened(query, call.q, call.queryAt(rows, r), n);
    copyWidened(dout, call.dout, call.queryAt(rows, r), n);
    std::memset(result, 0, size_t(n) * sizeof(float));
    for (int64_t j = rows.hidden(r); j < rows.visible(r); j++) {
      copyWidened(key, call.k, call.keyAt(rows.segment.key + j, rows.kvHead), n);
      copyWidened(value, call.v, call.keyAt(rows.segment.key + j, rows.kvHead), n);
      const double ds = pairOf(call, rows, r, query, key, dout, value).ds * call.scale;
      for (int64_t i = 0; i < n; i++) result[i] = float(result[i] + ds * key[i]);
    }
    write(call.dq, call.queryAt(rows, r), n, result);
  }
}

/** The rows of a segment that see some of `keys`; an empty range if none do. */
static Rows rowsThatSee(const Gradient& call, const Segment& segment, const Keys& keys) {
  const int64_t head = call.heads.first(keys.kvHead), group = call.heads.first(keys.kvHead + 1) - head;
  const int64_t first = larger(keys.begin, segment.key), last = smaller(keys.end, segment.key + segment.keys);
  if (first >= last) return {segment, keys.kvHead, head, group, 0, 0};
  // Key j of the segment is seen from query j − (keys − queries) on, by as many queries as a window is wide.
  const int64_t past = segment.key + segment.keys - segment.queries;
  const int64_t begin = smaller(larger<int64_t>(0, first - past), segment.queries);
  const int64_t end = segment.window > 0 ? smaller(segment.queries, last - 1 - past + segment.window) : segment.queries;
  return {segment, keys.kvHead, head, group, begin * group, larger(begin, end) * group};
}

static void gradeKeysPlainly(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  const int64_t n = call.heads.headDim;
  float *query = scratch.take(n), *dout = scratch.take(n), *key = scratch.take(n), *value = scratch.take(n);
  float *dKey = scratch.take(n), *dValue = scratch.take(n);
  for (int64_t j = keys.begin; j < keys.end; j++) {
    copyWidened(key, call.k, call.keyAt(j, keys.kvHead), n);
    copyWidened(value, call.v, call.keyAt(j, keys.kvHead), n);
    std::memset(dKey, 0, size_t(n) * sizeof(float));
    std::memset(dValue, 0, size_t(n) * sizeof(float));
    for (int64_t s = 0; s < segments.count; s++) {
      const Rows rows = rowsThatSee(call, segments[s], {keys.kvHead, j, j + 1});
      for (int64_t r = rows.begin; r < rows.end; r++) {
        copyWidened(query, call.q, call.queryAt(rows, r), n);
        copyWidened(dout, call.dout, call.queryAt(rows, r), n);
        const Pair pair = pairOf(call, rows, r, query, key, dout, value);
        for (int64_t i = 0; i < n; i++) {
          dKey[i] = float(dKey[i] + call.scale * pair.ds * query[i]);
          dValue[i] = float(dValue[i] + pair.p * dout[i]);
        }
      }
    }
    write(call.dk, call.keyAt(j, keys.kvHead), n, dKey);
    write(call.dv, call.keyAt(j, keys.kvHead), n, dValue);
  }
}

}  // namespace GRAFT_ISA
}  // namespace graft
