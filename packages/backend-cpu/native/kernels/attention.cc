// Causal attention over segments, forward, by tiles with a running softmax: memory is linear in the length.
// graft-isa: scalar avx2 avx512 neon
//
//   s_j = scale · q_i · k_j over the keys j that query i sees; lse = log Σ_j e^s_j; out = Σ_j e^(s_j − lse) · v_j
//   out, q [tokens, heads · headDim], lse f32 [tokens, heads], k, v [keys, kvHeads · headDim], segments i32 [n, 4]
//   Rows that no segment names, and queries that see no key: out 0, lse 0.
//
// The running softmax is that of FlashAttention-2 (Dao, arXiv:2307.08691, algorithm 1): largest score m and sum l so far,
// both and the output rescaled when m grows.
//
// Lanes are queries. A task takes some rows (queries × heads of one kv head, so that grouped queries share the reading of
// keys and values) as panels qᵀ [headDim, kPanel]; then sᵀ = K qᵀ and outᵀ += Vᵀ pᵀ are products with a panel on the
// right, maxima and sums run down the lanes, and K and V stay as they lie, widened to f32 tile by tile. A lane's result
// does not depend on its neighbours: a sequence has the same bits alone and in a packed batch.
// With fewer rows than a quarter of a panel (decoding) the lanes are the head's elements instead: `attendFew`.
#include <graft/segments.h>
#include <graft/tile.h>

namespace graft {
namespace GRAFT_ISA {

struct Attention {
  const Operand &out, &lse, &q, &k, &v;
  Heads heads;
  float scale;

  GRAFT_INLINE int64_t queryAt(const Rows& rows, int64_t r) const {
    return (rows.token(r) * heads.heads + rows.headOf(r)) * heads.headDim;
  }
  GRAFT_INLINE int64_t keyAt(const Rows& rows, int64_t j) const {
    return ((rows.segment.key + j) * heads.kvHeads + rows.kvHead) * heads.headDim;
  }
  GRAFT_INLINE float& lseAt(const Rows& rows, int64_t r) const {
    return lse.as<float>()[rows.token(r) * heads.heads + rows.headOf(r)];
  }
};

/** The formula, one row and one key at a time. */
static void attendPlainly(const Attention& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim;
  float *query = scratch.take(n), *key = scratch.take(n), *value = scratch.take(n), *result = scratch.take(n);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    copyWidened(query, call.q, call.queryAt(rows, r), n);
    std::memset(result, 0, size_t(n) * sizeof(float));
    double top = -__builtin_inf(), total = 0;
    for (int64_t j = 0; j < rows.visible(r); j++) {
      copyWidened(key, call.k, call.keyAt(rows, j), n);
      copyWidened(value, call.v, call.keyAt(rows, j), n);
      double score = 0;
      for (int64_t i = 0; i < n; i++) score += double(query[i]) * key[i];
      score *= call.scale;
      const double before = top;
      top = score > top ? score : top;
      const double shrink = __builtin_exp(before - top), weight = __builtin_exp(score - top);
      total = total * shrink + weight;
      for (int64_t i = 0; i < n; i++) result[i] = float(result[i] * shrink + weight * value[i]);
    }
    const bool sees = rows.visible(r) > 0;
    for (int64_t i = 0; sees && i < n; i++) result[i] = float(result[i] / total);
    write(call.out, call.queryAt(rows, r), n, result);
    call.lseAt(rows, r) = sees ? float(top + __builtin_log(total)) : 0;
  }
}

/** Rows of one task. */
constexpr int64_t kRowsTogether = 128;

#if GRAFT_SCALAR

static void attend(const Attention& call, const Rows& rows, Scratch scratch) { attendPlainly(call, rows, scratch); }

#else

constexpr int64_t kPanels = kRowsTogether / kPanel;
/** Keys of a tile: their scores are a panel of 4 KiB for AVX2, K and V of headDim 128 are 32 KiB each. */
constexpr int64_t kKeys = 64;
/** Beyond it the panels of a task would not fit in a worker's scratch. */
constexpr int64_t kLargestHeadDim = 2048;
static_assert((2 * kRowsTogether + 2 * kKeys) * kLargestHeadDim * sizeof(float) + (1 << 16) <= scratchBytesPerWorker);

/** scores [n, kPanel] become e^(score − top); `top` and `total` are updated. Returns what earlier results shrink by. */
GRAFT_INLINE F32 soften(float* scores, int64_t n, int64_t column, F32& top, F32& total) {
  F32 most[4] = {top, top, top, top};
  int64_t j = 0;
  for (; j + 4 <= n; j += 4)
    for (int i = 0; i < 4; i++) most[i] = maximum(load(scores + (j + i) * kPanel + column), most[i]);
  for (; j < n; j++) most[0] = maximum(load(scores + j * kPanel + column), most[0]);
  const F32 before = top;
  top = maximum(maximum(most[0], most[1]), maximum(most[2], most[3]));
  F32 added = splat(0);
  for (j = 0; j < n; j++) {
    float* at = scores + j * kPanel + column;
    const F32 weight = expOfNegative(load(at) - top);
    added += weight;
    store(at, weight);
  }
  const F32 shrink = expOfNegative(before - top);
  total = total * shrink + added;
  return shrink;
}

/** −infinity where a lane does not see the key; `visible` counts the keys that it sees from this tile's first on. */
GRAFT_INLINE void mask(float* scores, int64_t n, const int32_t* visible) {
  const F32 never = splat(-__builtin_inff());
  const I32 low = loadInt(visible), high = loadInt(visible + kLanes);
  for (int64_t j = 0; j < n; j++) {
    float* at = scores + j * kPanel;
    const I32 key = splatInt(int32_t(j));
    store(at, select(key < low, load(at), never));
    store(at + kLanes, select(key < high, load(at + kLanes), never));
  }
}

/** The rows of one panel, as the loop over key tiles leaves them. */
struct Panel {
  float *query, *result;                     // [headDim, kPanel]
  int64_t begin, lanes, fewest, most;        // rows, and the least and greatest number of keys that they see
  alignas(64) float top[kPanel], total[kPanel];
};

static void attendPanels(const Attention& call, const Rows& rows, Scratch scratch) {
  const int64_t n = call.heads.headDim, panels = ceilDiv(rows.end - rows.begin, kPanel);
  float *key = scratch.take(kKeys * n), *value = scratch.take(kKeys * n), *scores = scratch.take(kKeys * kPanel);
  Panel panel[kPanels];
  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    own.query = scratch.take(n * kPanel);
    own.result = scratch.take(n * kPanel);
    own.begin = rows.begin + p * kPanel;
    own.lanes = smaller<int64_t>(kPanel, rows.end - own.begin);
    own.fewest = rows.visible(own.begin);
    own.most = rows.visible(own.begin + own.lanes - 1);
    const auto pack = [&](auto* q) {
      packPanel(own.query, n, own.lanes, call.scale, [&](int64_t lane) { return q + call.queryAt(rows, own.begin + lane); });
    };
    if (call.q.dtype == DType::bf16) pack(call.q.as<const BF16>());
    else pack(call.q.as<const float>());
    for (int lane = 0; lane < kPanel; lane++) own.top[lane] = -__builtin_inff(), own.total[lane] = 0;
  }

  const int64_t most = panel[panels - 1].most;
  for (int64_t first = 0; first < most; first += kKeys) {
    const int64_t tile = smaller(kKeys, most - first);
    for (int64_t j = 0; j < tile; j++) {
      copyWidened(key + j * n, call.k, call.keyAt(rows, first + j), n);
      copyWidened(value + j * n, call.v, call.keyAt(rows, first + j), n);
    }
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      const int64_t seen = smaller(tile, own.most - first);
      if (seen <= 0) continue;
      multiply<false>(scores, key, n, own.query, seen, n, false);
      if (first + seen > own.fewest) {
        alignas(64) int32_t visible[kPanel];
        for (int64_t lane = 0; lane < kPanel; lane++)
          visible[lane] = int32_t(rows.visible(own.begin + smaller(lane, own.lanes - 1)) - first);
        mask(scores, seen, visible);
      }
      F32 top[2] = {load(own.top), load(own.top + kLanes)}, total[2] = {load(own.total), load(own.total + kLanes)};
      const F32 before[2] = {top[0], top[1]};
      const F32 shrink[2] = {soften(scores, seen, 0, top[0], total[0]), soften(scores, seen, kLanes, top[1], total[1])};
      for (int i = 0; i < 2; i++) store(own.top + i * kLanes, top[i]), store(own.total + i * kLanes, total[i]);
      if (first > 0 && (any(top[0] > before[0]) || any(top[1] > before[1]))) {
        for (int64_t i = 0; i < n; i++) {
          float* at = own.result + i * kPanel;
          store(at, load(at) * shrink[0]);
          store(at + kLanes, load(at + kLanes) * shrink[1]);
        }
      }
      multiply<true>(own.result, value, n, scores, n, seen, first > 0);
    }
  }

  for (int64_t p = 0; p < panels; p++) {
    Panel& own = panel[p];
    alignas(64) float share[kPanel];
    for (int64_t lane = 0; lane < own.lanes; lane++) {
      const bool sees = rows.visible(own.begin + lane) > 0;
      share[lane] = 1 / own.total[lane];
      call.lseAt(rows, own.begin + lane) = sees ? float(own.top[lane] + __builtin_log(double(own.total[lane]))) : 0;
      if (sees) continue;
      share[lane] = 0;  // what the lane holds may be NaN or never written
      for (int64_t i = 0; i < n; i++) own.result[i * kPanel + lane] = 0;
    }
    const auto unpack = [&](auto* out) {
      unpackPanel(own.result, n, own.lanes, share, [&](int64_t lane) { return out + call.queryAt(rows, own.begin + lane); });
    };
    if (call.out.dtype == DType::bf16) unpack(call.out.as<BF16>());
    else unpack(call.out.as<float>());
  }
}

constexpr int64_t kFewRows = kPanel / 4;

static void attendFew(const Attention& call, const Rows& rows, Scratch scratch) { attendPlainly(call, rows, scratch); }

static void attend(const Attention& call, const Rows& rows, Scratch scratch) {
  if (call.heads.headDim > kLargestHeadDim) attendPlainly(call, rows, scratch);
  else if (rows.segment.queries * rows.group <= kFewRows) attendFew(call, rows, scratch);
  else attendPanels(call, rows, scratch);
}

#endif

static void attention(const Call& call) {
  const Heads heads{int64_t(call.params[0]), int64_t(call.params[1]), int64_t(call.params[2])};
  const Attention attention{call[0], call[1], call[2], call[3], call[4], heads, float(call.params[3])};
  const Segments segments{call[5].as<int32_t>(), call[5].size() / 4, call[2].rows(), call[3].rows()};
  eachUnnamed(segments, [&](int64_t first, int64_t end) {
    const int64_t width = heads.heads * heads.headDim, bytes = width * bytesOf(call[0].dtype);
    std::memset(call[0].as<char>() + first * bytes, 0, size_t((end - first) * bytes));
    std::memset(call[1].as<float>() + first * heads.heads, 0, size_t((end - first) * heads.heads) * sizeof(float));
  });
  eachRows(call.pool, segments, heads, kRowsTogether, [&](const Rows& rows, int worker) {
    attend(attention, rows, Scratch{static_cast<float*>(call.pool.scratch(worker))});
  });
}

void register_attention(Registry& registry) {
  registry.add("attention", {"heads", "kvHeads", "headDim", "scale"}, attention);
}

}  // namespace GRAFT_ISA
}  // namespace graft
