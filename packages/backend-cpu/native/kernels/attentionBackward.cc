// The backward pass of causal attention over segments (forward and notation: attention.cc).
// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
//   p_ij = e^(scale · q_i · k_j − lse_i)                    delta_i = Σ dout_i · out_i, f32 [tokens, heads] in the workspace
//   ds_ij = p_ij · (dout_i · v_j − delta_i), with a soft cap c times 1 − tanh²(scale · q_i · k_j / c), and p_ij as there
//   dq_i = scale · Σ_j ds_ij · k_j       dk_j = scale · Σ_i ds_ij · q_i       dv_j = Σ_i p_ij · dout_i
//   dq, dout, out, q [tokens, heads · headDim], dk, dv, k, v [keys, kvHeads · headDim]
//   Rows that no segment names get 0.
//
// A task works on panels of keys: sums dkᵀ and dvᵀ [headDim, kPanel] are in the first-level cache while tiles of query rows
// pass by. Two ways, with the same bits, for an element is one chain of fma in the order of the keys or of the rows:
//   - together: a task is a kv head of a segment and keeps dq of its rows in scratch, or of some at a time and the sums of
//     all keys; 5 products a tile;
//   - apart: dq by rows and then dk and dv by keys, as tasks of their own (Dao, arXiv:2307.08691 §3.1, without its atomic
//     adds); p and dout · v are made twice, 7 products a tile, but the work is cut as finely as in the forward pass.
// The first is taken where it fits in scratch and its tasks fill the threads.
#include <graft/attentionKeys.h>

namespace graft {
namespace GRAFT_ISA {

/** delta of all tokens and heads */
static void makeDelta(const Gradient& call, const Pool& pool, int64_t tokens) {
  const int64_t n = call.heads.headDim;
  const auto fill = [&](const auto* dout, const auto* out) {
    eachRow(pool, tokens * call.heads.heads, n, [&](int64_t row) {
      double total = 0;
      for (int64_t from = 0; from < n; from += kBlock)
        total += mapSum(smaller(kBlock, n - from), [](F32 x, F32 y) { return x * y; }, dout + row * n + from, out + row * n + from);
      call.delta[row] = float(total);
    });
  };
  const auto asStored = [](const Operand& x, const auto& use) {
    if (x.dtype == DType::bf16) use(x.as<const BF16>());
    else if (x.dtype == DType::f16) use(x.as<const F16>());
    else use(x.as<const float>());
  };
  asStored(call.dout, [&](const auto* dout) { asStored(call.out, [&](const auto* out) { fill(dout, out); }); });
}

#if GRAFT_SCALAR

static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) { gradeQueriesPlainly(call, rows, scratch); }
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  gradeKeysPlainly(call, segments, keys, scratch);
}
static bool gradesTogether(const Gradient&, const Segments&, int) { return false; }
static void gradeTogether(const Gradient&, const Rows&, Scratch) {}

#else

/** dq of some rows: lanes are rows, tiles are keys. */
template <class Kind>
static void gradeQueriesTiled(const Gradient& call, const Rows& rows, Scratch scratch) {
  using Element = typename Kind::Element;
  struct Panel {
    Element *query, *dout;               // [headDim, kPanel]
    float* sum;                          // likewise
    int64_t begin, lanes, start, most;   // the keys of [start, most) are seen by some row; start begins a tile
    int64_t shared, fewest;              // those of [shared, fewest) by all
    alignas(64) float lse[kPanel], delta[kPanel];
    alignas(64) int32_t hidden[kPanel], visible[kPanel];
  };
  const int64_t n = call.heads.headDim, depth = elementsOf<Kind>(n), panels = ceilDiv(rows.end - rows.begin, kPanel);
  Element *key = scratch.take<Element>(kTile * depth), *value = scratch.take<Element>(kTile * depth);
  Element* across = Kind::perElement == 1 ? key : scratch.take<Element>(elementsOf<Kind>(kTile) * n);
  float *scores = scratch.take(kTile * kPanel), *products = scratch.take(kTile * kPanel);
  Panel panel[kPanels];
  const auto at = [&](const Panel& own) { return [&](int64_t lane) { return call.queryAt(rows, own.begin + lane); }; };
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    own.query = scratch.take<Element>(depth * kPanel), own.dout = scratch.take<Element>(depth * kPanel), own.sum = scratch.take(n * kPanel);
    own.begin = rows.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, rows.end - own.begin);
    for (int64_t lane = 0; lane < kPanel; lane++) {
      const int64_t r = own.begin + smaller(lane, own.lanes - 1);
      own.lse[lane] = call.lseAt(rows, r) * kLog2e, own.delta[lane] = call.deltaAt(rows, r);
      own.hidden[lane] = int32_t(rows.hidden(r)), own.visible[lane] = int32_t(rows.visible(r));
    }
    own.start = own.hidden[0] / kTile * kTile, own.most = own.visible[kPanel - 1];
    own.shared = own.hidden[kPanel - 1], own.fewest = own.visible[0];
    pack<Kind>(own.query, call.q, n, own.lanes, at(own));
    pack<Kind>(own.dout, call.dout, n, own.lanes, at(own));
  }

  const int64_t most = panel[panels - 1].most;
  for (int64_t first = panel[0].start; first < most; first += kTile) {
    const int64_t tile = smaller(kTile, most - first);
    const auto keyAt = [&](int64_t j) { return call.keyAt(rows.segment.key + first + j, rows.kvHead); };
    copyAlong<Kind>(key, call.k, tile, n, keyAt);
    copyAlong<Kind>(value, call.v, tile, n, keyAt);
    if (Kind::perElement == 2) copyAcross<Kind>(across, call.k, tile, n, keyAt);
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      for (int64_t j = kTile + p * kTile / panels; j < smaller(most - first, kTile + (p + 1) * kTile / panels); j++) {
        fetchRow(call.k, keyAt(j), n);
        fetchRow(call.v, keyAt(j), n);
      }
      const int64_t seen = smaller(tile, own.most - first);
      if (seen <= 0 || first < own.start) continue;
      multiply<Kind, false>(scores, key, depth, own.query, seen, depth, false);
      multiply<Kind, false>(products, value, depth, own.dout, seen, depth, false);
      const auto statistics = [&](int64_t, int c) { return Place{load(own.lse + c * kLanes), load(own.delta + c * kLanes), splatInt(0)}; };
      if (first >= own.shared && first + seen <= own.fewest) {
        differentiateRows<Kind, false>(scores, products, nullptr, seen, call, statistics);
      } else {
        differentiateRows<Kind, true>(scores, products, nullptr, seen, call, [&](int64_t j, int c) {
          Place place = statistics(j, c);
          const I32 key = splatInt(int32_t(first + j));
          place.sees = (key >= loadInt(own.hidden + c * kLanes)) & (key < loadInt(own.visible + c * kLanes));
          return place;
        });
      }
      multiply<Kind, true>(own.sum, across, n, right<Kind>(products), n, elementsOf<Kind>(seen), first > own.start);
    }
  }
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    if (own.most <= 0) std::memset(own.sum, 0, size_t(n) * kPanel * sizeof(float));
    unpack(call.dq, own.sum, n, own.lanes, call.scale, at(own));
  }
}

/** dk and dv of some keys, whatever segments they lie in. */
template <class Kind>
static void gradeKeysTiled(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  KeyPanels<Kind> panels(call, scratch);
  panels.begin(keys, nullptr, true);
  for (int64_t s = 0; s < segments.count; s++) panels.add(segments[s], 0, INT64_MAX, [](int64_t, int64_t, int64_t, int64_t) {});
  panels.end();
}

/**
 * Rows of a segment and kv head whose dq gradeTogether keeps in scratch at a time: all if they fit; otherwise some, and the
 * sums dk and dv of all keys beside them; 0 if these do not fit.
 */
static int64_t rowsTogether(const Gradient& call, const Segment& segment) {
  constexpr int64_t fewest = 1024;
  const int64_t n = call.heads.headDim, width = ceilDiv(n, kPanel) * kPanel, all = segment.queries * call.heads.group();
  const int64_t fixed = (4 * kTogether + 2 * kTile) * n + (kTogether + 2) * width + kTile * (2 * kPanel + kTogether) + 16 * 64;
  const int64_t room = int64_t(scratchBytesPerWorker / sizeof(float)) - fixed;
  if (all * width <= room) return larger<int64_t>(all, 1);
  const int64_t waiting = 2 * n * ceilDiv(segment.keys, kTogether) * kTogether;
  return fewest * width + waiting <= room ? fewest : 0;
}

/** dq, dk and dv of a segment and kv head. dq is kept as panels of kPanel columns of the head, [headPanels, rows, kPanel]. */
template <class Kind>
static void gradeTogetherTiled(const Gradient& call, const Rows& rows, Scratch scratch) {
  using Element = typename Kind::Element;
  constexpr int64_t per = Kind::perElement;
  const Segment& segment = rows.segment;
  const int64_t n = call.heads.headDim, headPanels = ceilDiv(n, kPanel), together = rowsTogether(call, segment);
  KeyPanels<Kind> panels(call, scratch);
  Element *keys = scratch.take<Element>(headPanels * kTogether * kPanel), *joined = scratch.take<Element>(headPanels * kPanel);
  float* sums = scratch.take(headPanels * smaller(together, rows.end) * kPanel);
  // More parts than one: the sums of all keys wait for the next part.
  float* waiting = together < rows.end ? scratch.take(2 * n * ceilDiv(segment.keys, kTogether) * kTogether) : nullptr;
  std::memset(joined, 0, size_t(headPanels * kPanel) * sizeof(Element));
  for (int64_t from = 0; from < rows.end; from += together) {
    const int64_t count = smaller(together, rows.end - from);
    // Where all rows see the first keys, these begin their sums.
    const Rows seeing = rowsThatSee(call, segment, {rows.kvHead, segment.key, segment.key + smaller(segment.keys, kTogether)});
    const bool begun = seeing.begin > 0 || seeing.end < rows.end;
    if (begun) std::memset(sums, 0, size_t(headPanels * count * kPanel) * sizeof(float));
    for (int64_t first = 0; first < segment.keys; first += kTogether) {
      const Keys part{rows.kvHead, segment.key + first, segment.key + smaller(segment.keys, first + kTogether)};
      panels.begin(part, waiting == nullptr ? nullptr : waiting + 2 * n * first, from == 0);
      for (int64_t j = part.begin; j < part.end; j += per) {
        copyAcross<Kind>(joined, call.k, smaller(per, part.end - j), n, [&](int64_t i) { return call.keyAt(j + i, rows.kvHead); });
        for (int64_t h = 0; h < headPanels; h++)
          std::memcpy(keys + (h * kTogether + j - part.begin) / per * kPanel, joined + h * kPanel, kPanel * sizeof(Element));
      }
      panels.add(segment, from, from + count, [&](int64_t row, int64_t tile, int64_t begin, int64_t end) {
        for (int64_t h = 0; h < headPanels; h++)
          multiply<Kind, false>(sums + (h * count + row - from) * kPanel, panels.left + begin / per, kLeft<Kind>, keys + (h * kTogether + begin) / per * kPanel, tile, elementsOf<Kind>(end - begin), begun || first > 0);
      });
      if (from + count == rows.end) panels.end();
    }
    withElements<Singles>(call.dq, [&](auto* dq) {
      for (int64_t r = 0; r < count; r++)
        for (int64_t h = 0; h < headPanels; h++)
          map(dq + call.queryAt(rows, from + r) + h * kPanel, smaller<int64_t>(kPanel, n - h * kPanel), [&](F32 x) { return call.scale * x; }, sums + (h * count + r) * kPanel);
    });
  }
}

/** task(kind): pairs where all operands are made of them and the instruction set multiplies them, else floats. */
template <class Task>
GRAFT_INLINE void inKind(const Gradient& call, const Task& task) {
  if constexpr (panels::multipliesPairs)
    if (inPairs(call.q, call.k, call.v, call.dout)) return task(Pairs{});
  task(Singles{});
}
static void gradeQueries(const Gradient& call, const Rows& rows, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeQueriesPlainly(call, rows, scratch);
  inKind(call, [&](auto kind) { gradeQueriesTiled<decltype(kind)>(call, rows, scratch); });
}
static void gradeKeys(const Gradient& call, const Segments& segments, const Keys& keys, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return gradeKeysPlainly(call, segments, keys, scratch);
  inKind(call, [&](auto kind) { gradeKeysTiled<decltype(kind)>(call, segments, keys, scratch); });
}
static void gradeTogether(const Gradient& call, const Rows& rows, Scratch scratch) {
  inKind(call, [&](auto kind) { gradeTogetherTiled<decltype(kind)>(call, rows, scratch); });
}

/**
 * Whether the tasks of gradeTogether fit in scratch, touch no key twice, and keep the threads busy: their longest queue, at
 * 5 products a tile, against an even share of the work at 7. Both ways give the same bits, so this may look at `threads`.
 */
static bool gradesTogether(const Gradient& call, const Segments& segments, int threads) {
  constexpr int mostThreads = 256;
  const int64_t workers = smaller(threads, mostThreads);
  double load[mostThreads] = {}, total = 0, longest = 0;
  for (int64_t s = 0; s < segments.count; s++) {
    const Segment own = segments[s];
    if (rowsTogether(call, own) == 0) return false;
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
