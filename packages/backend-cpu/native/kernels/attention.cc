// Causal attention over segments, forward, by tiles with a running softmax: memory is linear in the length.
// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
//   s_j = scale · q_i · k_j over the keys j that query i sees; lse = log Σ_j e^s_j; out = Σ_j e^(s_j − lse) · v_j
//   with a soft cap c > 0 (Gemma 2, arXiv:2408.00118 §2): s_j = c · tanh(scale · q_i · k_j / c)
//   out, q [tokens, heads · headDim], lse f32 [tokens, heads], k, v [keys, kvHeads · headDim], segments i32 [n, 4]
//   Rows that no segment names, and queries that see no key: out 0, lse 0.
//
// The running softmax is that of FlashAttention-2 (Dao, arXiv:2307.08691, algorithm 1), with its largest score replaced by
// a reference that follows it at a distance: powers relative to it may reach e^8, and only when a score exceeds that are
// the sum and the output rescaled, lane by lane.
//
// Lanes are queries. A task takes some rows (queries × heads of one kv head, so that grouped queries share the reading of
// keys and values) as panels qᵀ [headDim, kPanel]; then sᵀ = K qᵀ and outᵀ += Vᵀ pᵀ are products with a panel on the
// right, maxima and sums run down the lanes, and K and V stay as they lie, widened to f32 tile by tile. A lane's result
// does not depend on its neighbours: a sequence has the same bits alone and in a packed batch.
// With fewer rows than a quarter of a panel (decoding) the lanes are the head's elements instead: `attendFew`.
#include <graft/attentionFew.h>
#include <graft/tile.h>

namespace graft {
namespace GRAFT_ISA {

/** Rows of one task. */
constexpr int64_t kRowsTogether = 256;

#if GRAFT_SCALAR

static void attend(const Attention& call, const Rows& rows, Scratch scratch) { attendPlainly(call, rows, scratch); }

#else

constexpr int64_t kPanels = kRowsTogether / kPanel;
/** Beyond it the panels of a task would not fit in a worker's scratch. */
constexpr int64_t kLargestHeadDim = 1536;
static_assert((2 * kRowsTogether + 2 * kKeys) * kLargestHeadDim * sizeof(float) + (1 << 16) <= scratchBytesPerWorker);

/** −infinity where a lane does not see the key; it sees [hidden, visible), counted from this tile's first on. */
GRAFT_INLINE void mask(float* scores, int64_t n, const int32_t* hidden, const int32_t* visible) {
  const F32 never = splat(-__builtin_inff());
  for (int c = 0; c < kPanel; c += kLanes) {
    const I32 from = loadInt(hidden + c), until = loadInt(visible + c);
    for (int64_t j = 0; j < n; j++) {
      float* at = scores + j * kPanel + c;
      const I32 key = splatInt(int32_t(j));
      store(at, select((key >= from) & (key < until), load(at), never));
    }
  }
}

/** The rows of one panel, as the loop over key tiles leaves them. */
template <class Kind>
struct Panel {
  typename Kind::Element* query;  // [headDim, kPanel]
  float* result;                  // likewise
  int64_t begin, lanes;           // rows
  int64_t start;                  // the first tile that some row sees
  int64_t shared, fewest;         // all rows see the keys [shared, fewest) of the tiles …
  int64_t most;                   // … and none sees a key from here on
  alignas(64) float reference[kPanel], total[kPanel];  // in powers of two
  alignas(64) float used[kPanel];  // the total of the weights as they were rounded, by which the result is divided
};

/** How far above a lane's reference a score may lie, in powers of two. */
constexpr float kHeadroom = 11.5f;

/**
 * x [keys, kPanel] become 2^(factor · x − reference), references and totals are updated, and the panel's result is shrunk
 * to a new reference where it exists (from the second tile on). Of Pairs the weights are rounded; their total is taken
 * before, for lse, and after, so that a row's weights add up to 1 and the error of a large one is mostly divided out.
 */
template <class Kind>
static void soften(Panel<Kind>& panel, float* x, float factor, int64_t keys, int64_t n, bool exists) {
  F32 even[2], odd[2], reference[2], added[2], used[2], shrink[2];
  bool moved = false;
#pragma GCC unroll 2
  for (int c = 0; c < 2; c++) even[c] = odd[c] = load(x + (keys - 1) * kPanel + c * kLanes);
  for (int64_t j = 0; j + 2 <= keys; j += 2)
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
      even[c] = maximum(load(x + j * kPanel + c * kLanes), even[c]);
      odd[c] = maximum(load(x + (j + 1) * kPanel + c * kLanes), odd[c]);
    }
#pragma GCC unroll 2
  for (int c = 0; c < 2; c++) {
    const F32 before = load(panel.reference + c * kLanes), top = factor * maximum(even[c], odd[c]);
    const auto grown = top > before + kHeadroom;
    reference[c] = select(grown, top, before);
    shrink[c] = softmaxExp2(before - reference[c]);
    added[c] = used[c] = splat(0);
    moved = moved || any(grown);
    store(panel.reference + c * kLanes, reference[c]);
  }
  const auto weigh = [&](int64_t j, F32 (&weights)[2]) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
      weights[c] = softmaxExp2(fma(load(x + j * kPanel + c * kLanes), splat(factor), -reference[c]));
      added[c] += weights[c];
    }
  };
  F32 upper[2], lower[2];
  [[maybe_unused]] uint32_t ones = 0x3f803f80u;  // a pair of 1 in bf16,
  asm("" : "+r"(ones));  // unknown to GCC 12, which writes bf16 constants for aarch64 as if they were of f16
  const auto put = [&](int64_t j) __attribute__((always_inline)) {
    putRows<Kind>(x, j, upper, lower);
    if constexpr (Kind::perElement == 2)
#pragma GCC unroll 2
      for (int c = 0; c < 2; c++)
        used[c] = Pairs::step(Pairs::load(right<Pairs>(x) + j / 2 * kPanel + c * kLanes), panels::broadcast(ones), used[c]);
  };
  int64_t j = 0;
  for (; j + 2 <= keys; j += 2) {
    weigh(j, upper);
    weigh(j + 1, lower);
    put(j);
  }
  if (j < keys) {
    weigh(j, upper);
    lower[0] = lower[1] = splat(0);
    put(j);
  }
#pragma GCC unroll 2
  for (int c = 0; c < 2; c++) {
    float *total = panel.total + c * kLanes, *part = panel.used + c * kLanes;
    store(total, load(total) * shrink[c] + added[c]);
    store(part, load(part) * shrink[c] + (Kind::perElement == 2 ? used[c] : added[c]));
  }
  for (int64_t i = 0; moved && exists && i < n; i++)
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
      float* at = panel.result + i * kPanel + c * kLanes;
      store(at, load(at) * shrink[c]);
    }
}

template <class Kind>
static void attendPanels(const Attention& call, const Rows& rows, Scratch scratch) {
  using Element = typename Kind::Element;
  const int64_t n = call.heads.headDim, depth = elementsOf<Kind>(n), panels = ceilDiv(rows.end - rows.begin, kPanel);
  Element *key = scratch.take<Element>(kKeys * depth), *value = scratch.take<Element>(elementsOf<Kind>(kKeys) * n);
  float* scores = scratch.take(kKeys * kPanel);
  // A product becomes a power of two in one multiply-add, unless it must be bent first, or made rise with its score.
  const bool bends = call.softCap > 0 || call.scale < 0;
  const float log2e = 1.44269504f, factor = bends ? log2e : log2e * call.scale;
  Panel<Kind> panel[kPanels];
  for (int64_t p = 0; p < panels; p++) {
    Panel<Kind>& own = panel[p];
    own.query = scratch.take<Element>(depth * kPanel);
    own.result = scratch.take(n * kPanel);
    own.begin = rows.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, rows.end - own.begin);
    own.start = rows.hidden(own.begin) / kKeys * kKeys;
    own.shared = rows.hidden(own.begin + own.lanes - 1);
    own.fewest = rows.visible(own.begin);
    own.most = rows.visible(own.begin + own.lanes - 1);
    withElements<Kind>(call.q, [&](const auto* q) {
      packPanel<Kind>(own.query, n, own.lanes, [&](int64_t lane) { return q + call.queryAt(rows, own.begin + lane); });
    });
    for (int lane = 0; lane < kPanel; lane++) own.reference[lane] = kNoScore, own.total[lane] = own.used[lane] = 0;
  }

  const int64_t most = panel[panels - 1].most;
  for (int64_t first = panel[0].start; first < most; first += kKeys) {
    const int64_t tile = smaller(kKeys, most - first);
    const auto at = [&](int64_t j) { return call.keyAt(rows, first + j); };
    copyAlong<Kind>(key, call.k, tile, n, at);
    copyAcross<Kind>(value, call.v, tile, n, at);
    for (int64_t p = 0; p < panels; p++) {
      Panel<Kind>& own = panel[p];
      // The next tile's rows lie far apart, where the hardware does not look ahead: each panel fetches a part of them.
      for (int64_t j = first + kKeys + p * kKeys / panels; j < smaller(most, first + kKeys + (p + 1) * kKeys / panels); j++) {
        fetchRow(call.k, call.keyAt(rows, j), n);
        fetchRow(call.v, call.keyAt(rows, j), n);
      }
      const int64_t seen = smaller(tile, own.most - first);
      if (seen <= 0 || first < own.start) continue;
      multiply<Kind, false>(scores, key, depth, own.query, seen, depth, false);
      if (bends) bend(scores, seen * kPanel, call.scale, call.softCap);
      if (first + seen > own.fewest || first < own.shared) {
        alignas(64) int32_t hidden[kPanel], visible[kPanel];
        for (int64_t lane = 0; lane < kPanel; lane++) {
          const int64_t r = own.begin + smaller(lane, own.lanes - 1);
          hidden[lane] = int32_t(rows.hidden(r) - first), visible[lane] = int32_t(rows.visible(r) - first);
        }
        mask(scores, seen, hidden, visible);
      }
      soften(own, scores, factor, seen, n, first > own.start);
      multiply<Kind, true>(own.result, value, n, right<Kind>(scores), n, elementsOf<Kind>(seen), first > own.start);
    }
  }

  for (int64_t p = 0; p < panels; p++) {
    Panel<Kind>& own = panel[p];
    alignas(64) float share[kPanel], sum[kPanel];
    for (int c = 0; c < kPanel; c += kLanes) {
      store(share + c, 1.0f / load(own.used + c));
      store(sum + c, fma(load(own.reference + c), splat(0.693147181f), log(load(own.total + c))));
    }
    for (int64_t lane = 0; lane < own.lanes; lane++) {
      const bool sees = rows.visible(own.begin + lane) > 0;
      call.lseAt(rows, own.begin + lane) = sees ? sum[lane] : 0;
      if (sees) continue;
      share[lane] = 0;  // what the lane holds may be NaN or never written
      for (int64_t i = 0; i < n; i++) own.result[i * kPanel + lane] = 0;
    }
    withElements<Singles>(call.out, [&](auto* out) {
      unpackPanel(own.result, n, own.lanes, share, [&](int64_t lane) { return out + call.queryAt(rows, own.begin + lane); });
    });
  }
}

static void attend(const Attention& call, const Rows& rows, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) return attendPlainly(call, rows, scratch);
  if (rows.segment.queries * rows.group <= kFewRows) return attendFew(call, rows, scratch);
  if constexpr (panels::multipliesPairs)
    if (inPairs(call.q, call.k, call.v)) return attendPanels<Pairs>(call, rows, scratch);
  attendPanels<Singles>(call, rows, scratch);
}

#endif

static void attention(const Call& call) {
  const Heads heads{int64_t(call.params[0]), int64_t(call.params[1]), int64_t(call.params[2])};
  const Attention attention{call[0], call[1], call[2], call[3], call[4], heads, float(call.params[3]), float(call.params[5])};
  const Segments segments{call[5].as<int32_t>(), call[5].size() / 4, call[2].rows(), call[3].rows(), int64_t(call.params[4])};
  eachUnnamed(segments.tokens, segments.count, queriesOf(segments), [&](int64_t first, int64_t end) {
    const int64_t width = heads.heads * heads.headDim, bytes = width * bytesOf(call[0].dtype);
    std::memset(call[0].as<char>() + first * bytes, 0, size_t((end - first) * bytes));
    std::memset(call[1].as<float>() + first * heads.heads, 0, size_t((end - first) * heads.heads) * sizeof(float));
  });
  eachRows(call.pool, segments, heads, kRowsTogether, [&](const Rows& rows, int worker) {
    attend(attention, rows, Scratch{static_cast<float*>(call.pool.scratch(worker))});
  });
}

void register_attention(Registry& registry) {
  registry.add("attention", {"heads", "kvHeads", "headDim", "scale", "window", "softCap"}, attention);
}

}  // namespace GRAFT_ISA
}  // namespace graft
