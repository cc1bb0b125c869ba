// The backward pass of causal attention over segments (forward and notation: attention.cc).
// graft-isa: scalar avx2 avx512 neon
//
//   p_ij = e^(scale · q_i · k_j − lse_i)                    delta_i = Σ dout_i · out_i, f32 [tokens, heads] in the workspace
//   ds_ij = p_ij · (dout_i · v_j − delta_i), with a soft cap c times 1 − tanh²(scale · q_i · k_j / c), and p_ij as there
//   dq_i = scale · Σ_j ds_ij · k_j       dk_j = scale · Σ_i ds_ij · q_i       dv_j = Σ_i p_ij · dout_i
//   dq, dout, out, q [tokens, heads · headDim], dk, dv, k, v [keys, kvHeads · headDim]
//   Rows that no segment names get 0.
//
// A task works on panels of keys: sums dkᵀ and dvᵀ [headDim, kPanel] are in the first-level cache while tiles of query rows
// pass by. Two ways, with the same bits, for an element is one chain of fma in the order of the keys or of the rows:
//   - together: a task is a kv head of a segment and keeps dq of all its rows in scratch; 5 products a tile;
//   - apart: dq by rows and then dk and dv by keys, as tasks of their own (Dao, arXiv:2307.08691 §3.1, without its atomic
//     adds); p and dout · v are made twice, 7 products a tile, but the work is cut as finely as in the forward pass.
// The first is taken where it fits in scratch and its tasks fill the threads.
#include <graft/attentionGradient.h>
#include <graft/tanh.h>
#include <graft/tile.h>

namespace graft {
namespace GRAFT_ISA {

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

/** Rows, or keys, of one task. */
constexpr int64_t kTogether = 128;

#if GRAFT_SCALAR

static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) { gradeQueriesPlainly(call, rows, scratch); }
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  gradeKeysPlainly(call, segments, keys, scratch);
}
static bool gradesTogether(const Gradient&, const Segments&, int) { return false; }
static void gradeTogether(const Gradient&, const Rows&, Scratch) {}

#else

constexpr int64_t kPanels = kTogether / kPanel;
/** Keys, or rows, of a tile: what the panels of a task are multiplied with. */
constexpr int64_t kTile = 64;
/** Beyond it the panels of a task would not fit in a worker's scratch. */
constexpr int64_t kLargestHeadDim = 1024;
static_assert((5 * kTogether + 2 * kTile + kPanel) * kLargestHeadDim * sizeof(float) + (1 << 16) <= scratchBytesPerWorker);

template <class At>
GRAFT_INLINE void pack(float* panel, const Operand& x, int64_t n, int64_t lanes, const At& at) {
  if (x.dtype == DType::bf16) packPanel(panel, n, lanes, 1, [&](int64_t lane) { return x.as<const BF16>() + at(lane); });
  else packPanel(panel, n, lanes, 1, [&](int64_t lane) { return x.as<const float>() + at(lane); });
}
template <class At>
GRAFT_INLINE void unpack(const Operand& x, const float* panel, int64_t n, int64_t lanes, float factor, const At& at) {
  alignas(64) float factors[kPanel];
  for (float& each : factors) each = factor;
  if (x.dtype == DType::bf16) unpackPanel(panel, n, lanes, factors, [&](int64_t lane) { return x.as<BF16>() + at(lane); });
  else unpackPanel(panel, n, lanes, factors, [&](int64_t lane) { return x.as<float>() + at(lane); });
}

/** One vector of scores becomes p, and of products becomes ds, where `sees`; 0 elsewhere. */
GRAFT_INLINE void differentiate(float* scores, float* products, const Gradient& call, F32 lse, F32 delta, I32 sees) {
  if (call.softCap > 0) {
    const F32 bent = tanh(load(scores) * (call.scale / call.softCap));
    const F32 p = select(sees, softmaxExp(fma(bent, splat(call.softCap), -lse)), splat(0));
    store(scores, p);
    store(products, p * (load(products) - delta) * (1.0f - bent * bent));
    return;
  }
  const F32 p = select(sees, softmaxExp(fma(load(scores), splat(call.scale), -lse)), splat(0));
  store(scores, p);
  store(products, p * (load(products) - delta));
}

/** dq of some rows: lanes are rows, tiles are keys. */
static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeQueriesPlainly(call, rows, scratch);
  struct Panel {
    float *query, *dout, *sum;  // [headDim, kPanel]
    int64_t begin, lanes, start, most;  // the keys of [start, most) are seen by some row; start begins a tile
    alignas(64) float lse[kPanel], delta[kPanel];
    alignas(64) int32_t hidden[kPanel], visible[kPanel];
  };
  const int64_t n = call.heads.headDim, panels = ceilDiv(rows.end - rows.begin, kPanel);
  float *key = scratch.take(kTile * n), *value = scratch.take(kTile * n);
  float *scores = scratch.take(kTile * kPanel), *products = scratch.take(kTile * kPanel);
  Panel panel[kPanels];
  const auto at = [&](const Panel& own) { return [&](int64_t lane) { return call.queryAt(rows, own.begin + lane); }; };
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    own.query = scratch.take(n * kPanel), own.dout = scratch.take(n * kPanel), own.sum = scratch.take(n * kPanel);
    own.begin = rows.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, rows.end - own.begin);
    own.start = rows.hidden(own.begin) / kTile * kTile;
    own.most = rows.visible(own.begin + own.lanes - 1);
    for (int64_t lane = 0; lane < kPanel; lane++) {
      const int64_t r = own.begin + smaller(lane, own.lanes - 1);
      own.lse[lane] = call.lseAt(rows, r), own.delta[lane] = call.deltaAt(rows, r);
      own.hidden[lane] = int32_t(rows.hidden(r)), own.visible[lane] = int32_t(rows.visible(r));
    }
    pack(own.query, call.q, n, own.lanes, at(own));
    pack(own.dout, call.dout, n, own.lanes, at(own));
  }

  const int64_t most = panel[panels - 1].most;
  for (int64_t first = panel[0].start; first < most; first += kTile) {
    const int64_t tile = smaller(kTile, most - first);
    for (int64_t j = 0; j < tile; j++) {
      copyWidened(key + j * n, call.k, call.keyAt(rows.segment.key + first + j, rows.kvHead), n);
      copyWidened(value + j * n, call.v, call.keyAt(rows.segment.key + first + j, rows.kvHead), n);
    }
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      for (int64_t j = first + kTile + p * kTile / panels; j < smaller(most, first + kTile + (p + 1) * kTile / panels); j++) {
        fetchRow(call.k, call.keyAt(rows.segment.key + j, rows.kvHead), n);
        fetchRow(call.v, call.keyAt(rows.segment.key + j, rows.kvHead), n);
      }
      const int64_t seen = smaller(tile, own.most - first);
      if (seen <= 0 || first < own.start) continue;
      multiply<false>(scores, key, n, own.query, seen, n, false);
      multiply<false>(products, value, n, own.dout, seen, n, false);
      for (int c = 0; c < kPanel; c += kLanes) {
        const F32 lse = load(own.lse + c), delta = load(own.delta + c);
        const I32 hidden = loadInt(own.hidden + c), visible = loadInt(own.visible + c);
        for (int64_t j = 0; j < seen; j++) {
          const I32 at = splatInt(int32_t(first + j));
          differentiate(scores + j * kPanel + c, products + j * kPanel + c, call, lse, delta, (at >= hidden) & (at < visible));
        }
      }
      multiply<true>(own.sum, key, n, products, n, seen, first > own.start);
    }
  }
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    if (own.most <= 0) std::memset(own.sum, 0, size_t(n) * kPanel * sizeof(float));
    unpack(call.dq, own.sum, n, own.lanes, call.scale, at(own));
  }
}

/** Up to kTogether keys as panels, and the tiles that pass by them. */
struct KeyPanels {
  struct Panel {
    float *key, *value, *dKey, *dValue;  // [headDim, kPanel]
    int64_t begin, lanes;
  };
  const Gradient& call;
  Keys keys;
  int64_t n, panels;
  float *query, *dout, *scores, *products;  // [kTile, headDim] and [kTile, kPanel]
  Panel panel[kPanels];
  float lse[kTile], delta[kTile];
  int32_t hidden[kTile], visible[kTile];

  KeyPanels(const Gradient& call, Scratch& scratch) : call(call), n(call.heads.headDim) {
    query = scratch.take(kTile * n), dout = scratch.take(kTile * n);
    scores = scratch.take(kTile * kPanel), products = scratch.take(kTile * kPanel);
    for (Panel& own : panel) {
      own.key = scratch.take(n * kPanel), own.value = scratch.take(n * kPanel);
      own.dKey = scratch.take(n * kPanel), own.dValue = scratch.take(n * kPanel);
    }
  }
  GRAFT_INLINE auto at(const Panel& own) const {
    return [&](int64_t lane) { return call.keyAt(own.begin + lane, keys.kvHead); };
  }
  void begin(const Keys& of) {
    keys = of;
    panels = ceilDiv(keys.end - keys.begin, kPanel);
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      own.begin = keys.begin + p * kPanel;
      own.lanes = smaller<int64_t>(kPanel, keys.end - own.begin);
      pack(own.key, call.k, n, own.lanes, at(own));
      pack(own.value, call.v, n, own.lanes, at(own));
      std::memset(own.dKey, 0, size_t(n) * kPanel * sizeof(float));
      std::memset(own.dValue, 0, size_t(n) * kPanel * sizeof(float));
    }
  }
  /** Adds what the rows of `segment` contribute; alsoQueries(panel, first, skipped, seen) may use `products`, ds of these rows. */
  template <class AlsoQueries>
  GRAFT_INLINE void add(const Segment& segment, const AlsoQueries& alsoQueries) {
    const Rows rows = rowsThatSee(call, segment, keys);
    for (int64_t first = rows.begin; first < rows.end; first += kTile) {
      const int64_t tile = smaller(kTile, rows.end - first);
      for (int64_t j = 0; j < tile; j++) {
        copyWidened(query + j * n, call.q, call.queryAt(rows, first + j), n);
        copyWidened(dout + j * n, call.dout, call.queryAt(rows, first + j), n);
        lse[j] = call.lseAt(rows, first + j);
        delta[j] = call.deltaAt(rows, first + j);
        hidden[j] = int32_t(rows.hidden(first + j)), visible[j] = int32_t(rows.visible(first + j));
      }
      for (int64_t p = 0; p < panels; p++) {
        Panel& own = panel[p];
        for (int64_t j = first + kTile + p * kTile / panels; j < smaller(rows.end, first + kTile + (p + 1) * kTile / panels); j++) {
          fetchRow(call.q, call.queryAt(rows, j), n);
          fetchRow(call.dout, call.queryAt(rows, j), n);
        }
        const Rows seeing = rowsThatSee(call, segment, {keys.kvHead, own.begin, own.begin + own.lanes});
        const int64_t skipped = larger<int64_t>(0, seeing.begin - first), seen = smaller(tile, seeing.end - first) - skipped;
        if (seen <= 0) continue;
        multiply<false>(scores, query + skipped * n, n, own.key, seen, n, false);
        multiply<false>(products, dout + skipped * n, n, own.value, seen, n, false);
        for (int c = 0; c < kPanel; c += kLanes) {
          // The lane's key, counted from the segment's first; those outside the segment see nothing.
          const I32 key = laneIndex() + int32_t(own.begin - segment.key + c), inside = key >= splatInt(0);
          for (int64_t j = 0; j < seen; j++)
            differentiate(scores + j * kPanel + c, products + j * kPanel + c, call, splat(lse[skipped + j]),
              splat(delta[skipped + j]), inside & (key >= splatInt(hidden[skipped + j])) & (key < splatInt(visible[skipped + j])));
        }
        multiply<true>(own.dKey, query + skipped * n, n, products, n, seen, true);
        multiply<true>(own.dValue, dout + skipped * n, n, scores, n, seen, true);
        alsoQueries(own, first + skipped, seen);
      }
    }
  }
  void end() {
    for (int64_t p = 0; p < panels; p++) {
      unpack(call.dk, panel[p].dKey, n, panel[p].lanes, call.scale, at(panel[p]));
      unpack(call.dv, panel[p].dValue, n, panel[p].lanes, 1, at(panel[p]));
    }
  }
};

/** dk and dv of some keys, whatever segments they lie in. */
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeKeysPlainly(call, segments, keys, scratch);
  KeyPanels panels(call, scratch);
  panels.begin(keys);
  for (int64_t s = 0; s < segments.count; s++) panels.add(segments[s], [](const KeyPanels::Panel&, int64_t, int64_t) {});
  panels.end();
}

/** dq, dk and dv of a segment and kv head. dq is kept as panels of kPanel columns of the head, [headPanels, rows, kPanel]. */
static void gradeTogether(const Gradient& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim, headPanels = ceilDiv(n, kPanel), count = rows.end;
  KeyPanels panels(call, scratch);
  float *keys = scratch.take(headPanels * kTogether * kPanel), *sums = scratch.take(headPanels * count * kPanel), *row = scratch.take(headPanels * kPanel);
  std::memset(sums, 0, size_t(headPanels * count * kPanel) * sizeof(float));
  std::memset(row, 0, size_t(headPanels * kPanel) * sizeof(float));
  const Segment& segment = rows.segment;
  for (int64_t first = 0; first < segment.keys; first += kTogether) {
    const Keys part{rows.kvHead, segment.key + first, segment.key + smaller(segment.keys, first + kTogether)};
    panels.begin(part);
    for (int64_t j = part.begin; j < part.end; j++) {
      copyWidened(row, call.k, call.keyAt(j, rows.kvHead), n);
      for (int64_t h = 0; h < headPanels; h++)
        std::memcpy(keys + (h * kTogether + j - part.begin) * kPanel, row + h * kPanel, kPanel * sizeof(float));
    }
    panels.add(segment, [&](const KeyPanels::Panel& own, int64_t from, int64_t seen) {
      for (int64_t h = 0; h < headPanels; h++)
        multiply<false>(sums + (h * count + from) * kPanel, panels.products, kPanel, keys + (h * kTogether + own.begin - part.begin) * kPanel, seen, own.lanes, true);
    });
    panels.end();
  }
  for (int64_t r = 0; r < count; r++) {
    for (int64_t h = 0; h < headPanels; h++)
      map(row + h * kPanel, kPanel, [&](F32 x) { return call.scale * x; }, sums + (h * count + r) * kPanel);
    write(call.dq, call.queryAt(rows, r), n, row);
  }
}

/**
 * Whether the tasks of gradeTogether fit in scratch, touch no key twice, and keep the threads busy: their longest queue, at
 * 5 products a tile, against an even share of the work at 7. Both ways give the same bits, so this may look at `threads`.
 */
static bool gradesTogether(const Gradient& call, const Segments& segments, int threads) {
  constexpr int mostThreads = 256;
  const int64_t n = call.heads.headDim, headPanels = ceilDiv(n, kPanel), workers = smaller(threads, mostThreads);
  const int64_t fixed = (4 * kTogether + 2 * kTile) * n + (kTogether + 1) * headPanels * kPanel + 2 * kTile * kPanel + 16 * 64;
  double load[mostThreads] = {}, total = 0, longest = 0;
  for (int64_t s = 0; s < segments.count; s++) {
    const Segment own = segments[s];
    if ((fixed + headPanels * kPanel * own.queries * call.heads.group()) * int64_t(sizeof(float)) > int64_t(scratchBytesPerWorker)) return false;
    for (int64_t other = 0; other < s; other++) {
      const Segment before = segments[other];
      if (own.key < before.key + before.keys && before.key < own.key + own.keys) return false;
    }
    for (int64_t c = 0; c < call.heads.kvHeads && own.queries > 0; c++) {
      int64_t least = 0;
      for (int64_t worker = 1; worker < workers; worker++) least = load[worker] < load[least] ? worker : least;
      const double work = double(own.queries) * double(own.keys - own.queries / 2);
      load[least] += work;
      total += work;
      longest = larger(longest, load[least]);
    }
  }
  return call.heads.headDim <= kLargestHeadDim && 5 * longest <= 7 * total / double(workers);
}

#endif

/** Zeros in rows [first, end) of x. */
static void clearRows(const Operand& x, int64_t first, int64_t end) {
  const int64_t bytes = x.columns() * bytesOf(x.dtype);
  std::memset(x.as<char>() + first * bytes, 0, size_t((end - first) * bytes));
}

static void attentionBackward(const Call& call) {
  const Heads heads{int64_t(call.params[0]), int64_t(call.params[1]), int64_t(call.params[2])};
  const Gradient gradient{call[0], call[1], call[2], call[3], call[4], call[5], call[6], call[7], call[8], call.workspace, heads, float(call.params[3]), float(call.params[5])};
  const int64_t tokens = call[6].rows(), keys = call[7].rows();
  const Segments segments{call[9].as<int32_t>(), call[9].size() / 4, tokens, keys, int64_t(call.params[4])};
  const auto scratch = [&](int worker) { return Scratch{static_cast<float*>(call.pool.scratch(worker))}; };
  makeDelta(gradient, call.pool, tokens);
  eachUnnamed(tokens, segments.count, queriesOf(segments), [&](int64_t first, int64_t end) { clearRows(call[0], first, end); });
  if (gradesTogether(gradient, segments, call.pool.threads)) {
    eachUnnamed(keys, segments.count, keysOf(segments), [&](int64_t first, int64_t end) {
      clearRows(call[1], first, end);
      clearRows(call[2], first, end);
    });
    eachRows(call.pool, segments, heads, INT64_MAX, [&](const Rows& rows, int worker) { gradeTogether(gradient, rows, scratch(worker)); });
    return;
  }
  eachRows(call.pool, segments, heads, kTogether, [&](const Rows& rows, int worker) { gradeQueries(gradient, rows, scratch(worker)); });
  call.pool.parallel(ceilDiv(keys, kTogether) * heads.kvHeads, [&](int64_t task, int worker) {
    const int64_t begin = task / heads.kvHeads * kTogether;
    gradeKeys(gradient, segments, {task % heads.kvHeads, begin, smaller(keys, begin + kTogether)}, scratch(worker));
  });
}

void register_attentionBackward(Registry& registry) {
  registry.add("attentionBackward", {"heads", "kvHeads", "headDim", "scale", "window", "softCap"}, attentionBackward);
}

}  // namespace GRAFT_ISA
}  // namespace graft
