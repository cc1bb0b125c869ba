// The tiles of attention's backward pass: what becomes of one tile of scores, and the panels of keys that tiles of rows pass
// by (notation and formulas: kernels/attentionBackward.cc).
#pragma once

#include <graft/attentionGradient.h>
#include <graft/tanh.h>
#include <graft/tile.h>

namespace graft {
namespace GRAFT_ISA {

/** Rows, or keys, of one task. */
constexpr int64_t kTogether = 128;

#if !GRAFT_SCALAR

constexpr int64_t kPanels = kTogether / kPanel;
/** Keys, or rows, of a tile: what the panels of a task are multiplied with. */
constexpr int64_t kTile = 64;
/** Beyond it the panels of a task would not fit in a worker's scratch. */
constexpr int64_t kLargestHeadDim = 1024;
static_assert((5 * kTogether + 2 * kTile + kPanel) * kLargestHeadDim * sizeof(float) + (1 << 16) <= scratchBytesPerWorker);

template <class Kind, class At>
GRAFT_INLINE void pack(typename Kind::Element* panel, const Operand& x, int64_t n, int64_t lanes, const At& at) {
  withElements<Kind>(x, [&](const auto* from) { packPanel<Kind>(panel, n, lanes, [&](int64_t lane) { return from + at(lane); }); });
}
template <class At>
GRAFT_INLINE void unpack(const Operand& x, const float* panel, int64_t n, int64_t lanes, float factor, const At& at) {
  alignas(64) float factors[kPanel];
  for (float& each : factors) each = factor;
  withElements<Singles>(x, [&](auto* to) { unpackPanel(panel, n, lanes, factors, [&](int64_t lane) { return to + at(lane); }); });
}

constexpr float kLog2e = 1.44269504f;

/** q · k and dout · v of one vector of pairs become p and ds; `lse` in powers of two. */
GRAFT_INLINE void differentiate(F32& score, F32& product, const Gradient& call, F32 lse, F32 delta) {
  if (call.softCap > 0) {
    const F32 bent = tanh(score * (call.scale / call.softCap));
    score = softmaxExp2(fma(bent, splat(call.softCap * kLog2e), -lse));
    product = score * (product - delta) * (1.0f - bent * bent);
  } else {
    score = softmaxExp2(fma(score, splat(call.scale * kLog2e), -lse));
    product = score * (product - delta);
  }
}

/** What the formula needs of one vector of a panel's row: statistics of its queries and, where some do not, who sees whom. */
struct Place {
  F32 lse, delta;
  I32 sees;
};

/** Elements from one row of ds to the next where it is a left side, row-major, of all keys of a task. */
template <class Kind>
constexpr int64_t kLeft = kTogether / Kind::perElement;

/**
 * scores and products [rows, kPanel] become p and ds, as right sides of products; `left`, if there is one, takes ds as a
 * left side too. place(j, c): vector c of row j.
 */
template <class Kind, bool masked, class PlaceOf>
GRAFT_INLINE void differentiateRows(float* scores, float* products, typename Kind::Element* left, int64_t rows, const Gradient& call, const PlaceOf& place) {
  for (int64_t j = 0; j < rows; j += 2) {
    F32 p[2][2], ds[2][2];
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++)
#pragma GCC unroll 2
      for (int c = 0; c < 2; c++) {
        p[half][c] = ds[half][c] = splat(0);
        if (j + half == rows) continue;
        const Place at = place(j + half, c);
        F32 score = load(scores + (j + half) * kPanel + c * kLanes), product = load(products + (j + half) * kPanel + c * kLanes);
        differentiate(score, product, call, at.lse, at.delta);
        p[half][c] = masked ? select(at.sees, score, splat(0)) : score;
        ds[half][c] = masked ? select(at.sees, product, splat(0)) : product;
      }
    putRows<Kind>(scores, j, p[0], p[1]);
    putRows<Kind>(products, j, ds[0], ds[1]);
    for (int half = 0; left != nullptr && half < 2 && j + half < rows; half++) {
      typename Kind::Element* to = left + (j + half) * kLeft<Kind>;
      if constexpr (Kind::perElement == 2) panels::storeWords(to, narrowTwo(ds[half][0], ds[half][1]));
      else store(to, ds[half][0]), store(to + kLanes, ds[half][1]);
    }
  }
}

/** Up to kTogether keys as panels, and the tiles of rows that pass by them. */
template <class Kind>
struct KeyPanels {
  using Element = typename Kind::Element;
  struct Panel {
    Element *key, *value;  // [headDim, kPanel]
    float *dKey, *dValue;  // likewise
    float* sums;           // where these two lie unless the caller has a place for them
    int64_t begin, lanes;
  };
  const Gradient& call;
  Keys keys;
  int64_t n, depth, panels;
  Element *query, *dout, *queryAcross, *doutAcross;
  Element* left;  // ds [kTile, kTogether] of a tile and the panels that it sees
  float *scores, *products;  // [kTile, kPanel]
  Panel panel[kPanels];
  float lse[kTile], delta[kTile];
  int32_t hidden[kTile], visible[kTile];
  int64_t place[kTile];

  KeyPanels(const Gradient& call, Scratch& scratch) : call(call), n(call.heads.headDim), depth(elementsOf<Kind>(n)) {
    query = queryAcross = scratch.take<Element>(kTile * depth), dout = doutAcross = scratch.take<Element>(kTile * depth);
    if (Kind::perElement == 2)
      queryAcross = scratch.take<Element>(kTile * depth), doutAcross = scratch.take<Element>(kTile * depth);
    scores = scratch.take(kTile * kPanel), products = scratch.take(kTile * kPanel);
    left = scratch.take<Element>(kTile * kLeft<Kind>);
    for (Panel& own : panel) {
      own.key = scratch.take<Element>(depth * kPanel), own.value = scratch.take<Element>(depth * kPanel);
      own.sums = scratch.take(2 * n * kPanel);
    }
  }
  GRAFT_INLINE auto at(const Panel& own) const {
    return [&](int64_t lane) { return call.keyAt(own.begin + lane, keys.kvHead); };
  }
  /** `kept`: where the sums [panels, 2, headDim, kPanel] lie, null for a place of its own; `fresh`: they begin at 0. */
  void begin(const Keys& of, float* kept, bool fresh) {
    keys = of;
    panels = ceilDiv(keys.end - keys.begin, kPanel);
    for (int64_t p = 0; p < panels; p++) {
      Panel& own = panel[p];
      own.begin = keys.begin + p * kPanel;
      own.lanes = smaller<int64_t>(kPanel, keys.end - own.begin);
      pack<Kind>(own.key, call.k, n, own.lanes, at(own));
      pack<Kind>(own.value, call.v, n, own.lanes, at(own));
      own.dKey = kept == nullptr ? own.sums : kept + p * 2 * n * kPanel, own.dValue = own.dKey + n * kPanel;
      if (fresh) std::memset(own.dKey, 0, 2 * size_t(n) * kPanel * sizeof(float));
    }
  }
  /** Rows [first, first + tile) and what the formula needs of them. */
  void take(const Rows rows, int64_t first, int64_t tile) {
    for (int64_t j = 0; j < tile; j++) {
      const int64_t r = first + j, own = call.statisticAt(rows, r);
      place[j] = own * n;
      lse[j] = call.lse.template as<float>()[own] * kLog2e;
      delta[j] = call.delta[own];
      hidden[j] = int32_t(rows.hidden(r)), visible[j] = int32_t(rows.visible(r));
    }
    const auto at = [&](int64_t j) { return place[j]; };
    copyAlong<Kind>(query, call.q, tile, n, at);
    copyAlong<Kind>(dout, call.dout, tile, n, at);
    if (Kind::perElement == 1) return;
    copyAcross<Kind>(queryAcross, call.q, tile, n, at);
    copyAcross<Kind>(doutAcross, call.dout, tile, n, at);
  }
  GRAFT_INLINE Element* leftOf(const Panel& own) const { return left + (own.begin - keys.begin) / Kind::perElement; }
  /** Rows [skipped, skipped + seen) of the tile and one panel of `segment`'s keys. */
  void differentiatePanel(const Segment& segment, const Panel& own, int64_t skipped, int64_t seen) {
    Element* left = leftOf(own) + skipped * kLeft<Kind>;
    const int64_t key = own.begin - segment.key, last = skipped + seen - 1;  // the first lane's, from the segment's first on
    const auto statistics = [&](int64_t j, int) { return Place{splat(lse[skipped + j]), splat(delta[skipped + j]), splatInt(0)}; };
    if (key >= hidden[last] && key + own.lanes <= visible[skipped])
      return differentiateRows<Kind, false>(scores, products, left, seen, call, statistics);
    differentiateRows<Kind, true>(scores, products, left, seen, call, [&](int64_t j, int c) {
      Place place = statistics(j, c);
      // Keys outside the segment nobody sees.
      const I32 lane = laneIndex() + int32_t(key + c * kLanes);
      place.sees = (lane >= splatInt(0)) & (lane >= splatInt(hidden[skipped + j])) & (lane < splatInt(visible[skipped + j]));
      return place;
    });
  }
  /**
   * Adds what the rows [from, until) of `segment` contribute, `from` being even. alsoQueries(first, tile, begin, end) may
   * use `left`: ds of the rows [first, first + tile) and the keys [begin, end), counted from this task's first.
   */
  template <class AlsoQueries>
  GRAFT_INLINE void add(const Segment& segment, int64_t from, int64_t until, const AlsoQueries& alsoQueries) {
    const Rows rows = rowsThatSee(call, segment, keys);
    const int64_t last = smaller(rows.end, until);
    // Pairs of rows are the same for all panels and tasks: the first of one may be a row that sees nothing.
    const auto even = [](int64_t r) { return r / Kind::perElement * Kind::perElement; };
    for (int64_t first = larger(even(rows.begin), from); first < last; first += kTile) {
      const int64_t tile = smaller(kTile, last - first);
      take(rows, first, tile);
      int64_t begin = keys.end, end = keys.begin;  // of the panels that some row sees
      for (int64_t p = 0; p < panels; p++) {
        Panel& own = panel[p];
        for (int64_t j = first + kTile + p * kTile / panels; j < smaller(last, first + kTile + (p + 1) * kTile / panels); j++) {
          const int64_t from = call.queryAt(rows, j);
          fetchRow(call.q, from, n);
          fetchRow(call.dout, from, n);
        }
        const Rows seeing = rowsThatSee(call, segment, {keys.kvHead, own.begin, own.begin + own.lanes});
        const int64_t skipped = larger<int64_t>(0, even(seeing.begin) - first), seen = smaller(tile, seeing.end - first) - skipped;
        if (seen <= 0) continue;
        multiply<Kind, false>(scores, query + skipped * depth, depth, own.key, seen, depth, false);
        multiply<Kind, false>(products, dout + skipped * depth, depth, own.value, seen, depth, false);
        differentiatePanel(segment, own, skipped, seen);
        for (int64_t j = 0; j < tile; j++)
          if (j < skipped || j >= skipped + seen) std::memset(leftOf(own) + j * kLeft<Kind>, 0, kPanel / Kind::perElement * sizeof(Element));
        begin = smaller(begin, own.begin), end = own.begin + own.lanes;
        const int64_t upper = skipped / Kind::perElement * n, pairs = elementsOf<Kind>(seen);
        multiply<Kind, true>(own.dKey, queryAcross + upper, n, right<Kind>(products), n, pairs, true);
        multiply<Kind, true>(own.dValue, doutAcross + upper, n, right<Kind>(scores), n, pairs, true);
      }
      if (begin < end) alsoQueries(first, tile, begin - keys.begin, end - keys.begin);
    }
  }
  void end() {
    for (int64_t p = 0; p < panels; p++) {
      unpack(call.dk, panel[p].dKey, n, panel[p].lanes, call.scale, at(panel[p]));
      unpack(call.dv, panel[p].dValue, n, panel[p].lanes, 1, at(panel[p]));
    }
  }
};

#endif

}  // namespace GRAFT_ISA
}  // namespace graft
