// The backward pass of causal attention over segments (forward and notation: attention.cc).
// graft-isa: scalar avx2 avx512 neon
//
//   p_ij = e^(scale · q_i · k_j − lse_i)                    delta_i = Σ dout_i · out_i, f32 [tokens, heads] in the workspace
//   ds_ij = p_ij · (dout_i · v_j − delta_i)
//   dq_i = scale · Σ_j ds_ij · k_j       dk_j = scale · Σ_i ds_ij · q_i       dv_j = Σ_i p_ij · dout_i
//   dq, dout, out, q [tokens, heads · headDim], dk, dv, k, v [keys, kvHeads · headDim]
//   Rows that no segment names get 0.
//
// Two passes, each with its own tasks, so that nothing is added from two sides (Dao, arXiv:2307.08691 §3.1, without its
// atomic adds): dq by rows of queries, as forward; dk and dv by keys, whose lanes are keys and whose tiles are rows of
// queries. p and dout · v are made in both. An element is one chain of fma in the order of the keys or of the queries.
#include <graft/segments.h>
#include <graft/tile.h>

namespace graft {
namespace GRAFT_ISA {

struct Gradient {
  const Operand &dq, &dk, &dv, &dout, &out, &lse, &q, &k, &v;
  float* delta;
  Heads heads;
  float scale;

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

/** delta of all tokens and heads */
static void makeDelta(const Gradient& call, const Pool& pool, int64_t tokens) {
  const int64_t n = call.heads.headDim;
  eachRow(pool, tokens * call.heads.heads, n, [&](int64_t row) {
    double total = 0;
    for (int64_t from = 0; from < n; from += kBlock) {
      Buffer doutBuffer, outBuffer;
      const int64_t count = smaller(kBlock, n - from);
      const float* d = read(call.dout, row * n + from, count, doutBuffer);
      total += mapSum(count, [](F32 x, F32 y) { return x * y; }, d, read(call.out, row * n + from, count, outBuffer));
    }
    call.delta[row] = float(total);
  });
}

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
  const double p = __builtin_exp(score * call.scale - call.lseAt(rows, r));
  return {p, p * (product - call.deltaAt(rows, r))};
}

static void gradeQueriesPlainly(const Gradient& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim;
  float *query = scratch.take(n), *dout = scratch.take(n), *key = scratch.take(n), *value = scratch.take(n), *result = scratch.take(n);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    copyWidened(query, call.q, call.queryAt(rows, r), n);
    copyWidened(dout, call.dout, call.queryAt(rows, r), n);
    std::memset(result, 0, size_t(n) * sizeof(float));
    for (int64_t j = 0; j < rows.visible(r); j++) {
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
  // Key j of the segment is seen from query j − (keys − queries) on.
  const int64_t query = larger<int64_t>(0, first - segment.key - (segment.keys - segment.queries));
  return {segment, keys.kvHead, head, group, smaller(query, segment.queries) * group, segment.queries * group};
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

/** Rows, or keys, of one task. */
constexpr int64_t kTogether = 128;

#if GRAFT_SCALAR

static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) { gradeQueriesPlainly(call, rows, scratch); }
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  gradeKeysPlainly(call, segments, keys, scratch);
}

#else

constexpr int64_t kPanels = kTogether / kPanel;
/** Keys, or rows, of a tile: what the panels of a task are multiplied with. */
constexpr int64_t kTile = 64;
/** Beyond it the panels of a task would not fit in a worker's scratch. */
constexpr int64_t kLargestHeadDim = 1536;
static_assert((4 * kTogether + 2 * kTile) * kLargestHeadDim * sizeof(float) + (1 << 16) <= scratchBytesPerWorker);

/** Four panels [headDim, kPanel] of one group of lanes: two to multiply with, two that are summed. */
struct Panel {
  float *first, *second, *firstSum, *secondSum;
  int64_t begin, lanes;
  GRAFT_INLINE void take(Scratch& scratch, int64_t n) {
    first = scratch.take(n * kPanel), second = scratch.take(n * kPanel);
    firstSum = scratch.take(n * kPanel), secondSum = scratch.take(n * kPanel);
  }
};

template <class Row>
GRAFT_INLINE void pack(float* panel, const Operand& x, int64_t n, int64_t lanes, float factor, const Row& at) {
  if (x.dtype == DType::bf16) packPanel(panel, n, lanes, factor, [&](int64_t lane) { return x.as<const BF16>() + at(lane); });
  else packPanel(panel, n, lanes, factor, [&](int64_t lane) { return x.as<const float>() + at(lane); });
}
template <class Row>
GRAFT_INLINE void unpack(const Operand& x, const float* panel, int64_t n, int64_t lanes, float factor, const Row& at) {
  alignas(64) float factors[kPanel];
  for (float& each : factors) each = factor;
  if (x.dtype == DType::bf16) unpackPanel(panel, n, lanes, factors, [&](int64_t lane) { return x.as<BF16>() + at(lane); });
  else unpackPanel(panel, n, lanes, factors, [&](int64_t lane) { return x.as<float>() + at(lane); });
}

/** scores become p, products become ds, [n, kPanel] both; lane `lane` and row j are visible to each other if sees(j) is set there. */
template <class Lse, class Delta, class Sees>
GRAFT_INLINE void differentiate(float* scores, float* products, int64_t n, const Lse& lse, const Delta& delta, const Sees& sees) {
  for (int64_t j = 0; j < n; j++)
    for (int column = 0; column < kPanel; column += kLanes) {
      float *s = scores + j * kPanel + column, *d = products + j * kPanel + column;
      const F32 p = select(sees(j, column), softmaxExp(load(s) - lse(j, column)), splat(0));
      store(s, p);
      store(d, p * (load(d) - delta(j, column)));
    }
}

/** dq of some rows: lanes are rows, tiles are keys. */
static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeQueriesPlainly(call, rows, scratch);
  const int64_t n = call.heads.headDim, panels = ceilDiv(rows.end - rows.begin, kPanel);
  float *key = scratch.take(kTile * n), *value = scratch.take(kTile * n);
  float *scores = scratch.take(kTile * kPanel), *products = scratch.take(kTile * kPanel);
  Panel panel[kPanels];
  const auto at = [&](const Panel& own) { return [&](int64_t lane) { return call.queryAt(rows, own.begin + lane); }; };
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    own.take(scratch, n);
    own.begin = rows.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, rows.end - own.begin);
    pack(own.first, call.q, n, own.lanes, call.scale, at(own));
    pack(own.second, call.dout, n, own.lanes, 1, at(own));
  }

  const int64_t most = rows.visible(rows.end - 1);
  for (int64_t first = 0; first < most; first += kTile) {
    const int64_t tile = smaller(kTile, most - first);
    for (int64_t j = 0; j < tile; j++) {
      copyWidened(key + j * n, call.k, call.keyAt(rows.segment.key + first + j, rows.kvHead), n);
      copyWidened(value + j * n, call.v, call.keyAt(rows.segment.key + first + j, rows.kvHead), n);
    }
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      const int64_t seen = smaller(tile, rows.visible(own.begin + own.lanes - 1) - first);
      if (seen <= 0) continue;
      alignas(64) float lse[kPanel], delta[kPanel];
      alignas(64) int32_t visible[kPanel];
      for (int64_t lane = 0; lane < kPanel; lane++) {
        const int64_t r = own.begin + smaller(lane, own.lanes - 1);
        lse[lane] = call.lseAt(rows, r);
        delta[lane] = call.deltaAt(rows, r);
        visible[lane] = int32_t(rows.visible(r) - first);
      }
      multiply<false>(scores, key, n, own.first, seen, n, false);
      multiply<false>(products, value, n, own.second, seen, n, false);
      differentiate(scores, products, seen,
        [&](int64_t, int column) { return load(lse + column); }, [&](int64_t, int column) { return load(delta + column); },
        [&](int64_t j, int column) { return splatInt(int32_t(j)) < loadInt(visible + column); });
      multiply<true>(own.firstSum, key, n, products, n, seen, first > 0);
    }
  }
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    if (rows.visible(own.begin + own.lanes - 1) <= 0) std::memset(own.firstSum, 0, size_t(n) * kPanel * sizeof(float));
    unpack(call.dq, own.firstSum, n, own.lanes, call.scale, at(own));
  }
}

/** dk and dv of some keys: lanes are keys, tiles are rows. */
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeKeysPlainly(call, segments, keys, scratch);
  const int64_t n = call.heads.headDim, panels = ceilDiv(keys.end - keys.begin, kPanel);
  float *query = scratch.take(kTile * n), *dout = scratch.take(kTile * n);
  float *scores = scratch.take(kTile * kPanel), *products = scratch.take(kTile * kPanel);
  float lse[kTile], delta[kTile];
  Panel panel[kPanels];
  const auto at = [&](const Panel& own) { return [&](int64_t lane) { return call.keyAt(own.begin + lane, keys.kvHead); }; };
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    own.take(scratch, n);
    own.begin = keys.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, keys.end - own.begin);
    pack(own.first, call.k, n, own.lanes, call.scale, at(own));
    pack(own.second, call.v, n, own.lanes, 1, at(own));
    std::memset(own.firstSum, 0, size_t(n) * kPanel * sizeof(float));
    std::memset(own.secondSum, 0, size_t(n) * kPanel * sizeof(float));
  }

  for (int64_t s = 0; s < segments.count; s++) {
    const Segment segment = segments[s];
    const Rows rows = rowsThatSee(call, segment, keys);
    for (int64_t first = rows.begin; first < rows.end; first += kTile) {
      const int64_t tile = smaller(kTile, rows.end - first);
      for (int64_t j = 0; j < tile; j++) {
        copyWidened(query + j * n, call.q, call.queryAt(rows, first + j), n);
        copyWidened(dout + j * n, call.dout, call.queryAt(rows, first + j), n);
        lse[j] = call.lseAt(rows, first + j);
        delta[j] = call.deltaAt(rows, first + j);
      }
      for (int64_t p = 0; p < panels; p++) {
        Panel& own = panel[p];
        const Rows seeing = rowsThatSee(call, segment, {keys.kvHead, own.begin, own.begin + own.lanes});
        const int64_t skipped = larger<int64_t>(0, seeing.begin - first), seen = smaller(tile, seeing.end - first) - skipped;
        if (seen <= 0) continue;
        multiply<false>(scores, query + skipped * n, n, own.first, seen, n, false);
        multiply<false>(products, dout + skipped * n, n, own.second, seen, n, false);
        // Lane's key, counted from the segment's first; those outside it see nothing.
        const int32_t key = int32_t(own.begin - segment.key);
        differentiate(scores, products, seen,
          [&](int64_t j, int) { return splat(lse[skipped + j]); }, [&](int64_t j, int) { return splat(delta[skipped + j]); },
          [&](int64_t j, int column) {
            const I32 lane = laneIndex() + (key + column);
            return (lane < splatInt(int32_t(rows.visible(first + skipped + j)))) & (lane >= splatInt(0));
          });
        multiply<true>(own.firstSum, query + skipped * n, n, products, n, seen, true);
        multiply<true>(own.secondSum, dout + skipped * n, n, scores, n, seen, true);
      }
    }
  }
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    unpack(call.dk, own.firstSum, n, own.lanes, call.scale, at(own));
    unpack(call.dv, own.secondSum, n, own.lanes, 1, at(own));
  }
}

#endif

static void attentionBackward(const Call& call) {
  const Heads heads{int64_t(call.params[0]), int64_t(call.params[1]), int64_t(call.params[2])};
  const Gradient gradient{call[0], call[1], call[2], call[3], call[4], call[5], call[6], call[7], call[8], call.workspace, heads, float(call.params[3])};
  const int64_t tokens = call[6].rows(), keys = call[7].rows();
  const Segments segments{call[9].as<int32_t>(), call[9].size() / 4, tokens, keys};
  makeDelta(gradient, call.pool, tokens);
  eachUnnamed(segments, [&](int64_t first, int64_t end) {
    const int64_t bytes = heads.heads * heads.headDim * bytesOf(call[0].dtype);
    std::memset(call[0].as<char>() + first * bytes, 0, size_t((end - first) * bytes));
  });
  const auto scratch = [&](int worker) { return Scratch{static_cast<float*>(call.pool.scratch(worker))}; };
  eachRows(call.pool, segments, heads, kTogether, [&](const Rows& rows, int worker) { gradeQueries(gradient, rows, scratch(worker)); });
  call.pool.parallel(ceilDiv(keys, kTogether) * heads.kvHeads, [&](int64_t task, int worker) {
    const int64_t begin = task / heads.kvHeads * kTogether;
    gradeKeys(gradient, segments, {task % heads.kvHeads, begin, smaller(keys, begin + kTogether)}, scratch(worker));
  });
}

void register_attentionBackward(Registry& registry) {
  registry.add("attentionBackward", {"heads", "kvHeads", "headDim", "scale"}, attentionBackward);
}

}  // namespace GRAFT_ISA
}  // namespace graft
