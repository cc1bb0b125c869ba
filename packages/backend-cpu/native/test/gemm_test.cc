// The matrix products against a naive reference in double: all dtypes and transpositions, odd shapes, row offsets, sources
// with and without their fast functions, a reduction split over passes, low-rank tails; and the same bits for any
// number of threads and any company of rows. Linked with gemm.cc, weight.cc and dense.cc of one instruction set.
#include "harness.h"

#include <graft/gemm_product.h>

namespace graft {
namespace GRAFT_ISA {
void register_gemm(Registry& registry);
void register_weight(Registry& registry);
void register_dense(Registry& registry);
}  // namespace GRAFT_ISA
}  // namespace graft

using namespace test;
using graft::Call;
using graft::Operand;

namespace {

#if GRAFT_SCALAR
constexpr bool pairs = false;
#else
constexpr bool pairs = graft::GRAFT_ISA::panels::multipliesPairs;
#endif

std::map<std::string, const graft::PanelSource*> sources;
graft::Registry table{registry.self, registry.addKernel,
                      [](void*, const char* codec, const graft::PanelSource* source) { sources[codec] = source; }};

void call(const graft::Pool& pool, const std::string& name, const graft::PanelSource* source,
          const std::vector<Operand>& operands, const Params& params) {
  const Kernel& kernel = kernels.at(name);
  std::vector<double> values;
  for (size_t i = 0; i < params.size(); i++) {
    if (i >= kernel.fields.size() || kernel.fields[i] != params[i].first) check(name + ": field " + params[i].first, 1, 0);
    values.push_back(params[i].second);
  }
  if (params.size() != kernel.fields.size()) check(name + ": number of fields", double(params.size()), 0);
  kernel.body(Call{operands.data(), int(operands.size()), values.data(), int(values.size()), nullptr,
                   const_cast<graft::Pool&>(pool), source});
}

/** A pool whose scratch is smaller, so that small products are blocked as large ones are. */
[[maybe_unused]] graft::Pool smallPool(int threads, size_t sharedBytes) {
  graft::Pool pool = poolOf(threads).pool;
  pool.sharedBytes = sharedBytes;
  return pool;
}

bool same(const Tensor& a, const Tensor& b) { return std::memcmp(a.operand.data, b.operand.data, a.bytes()) == 0; }

/** Sum of k terms and the sum of their magnitudes, per element of [m, n]. */
struct Reference {
  std::vector<double> sums, magnitudes;
  template <class A, class B>
  Reference(int64_t m, int64_t n, int64_t k, const A& a, const B& b) : sums(size_t(m * n)), magnitudes(size_t(m * n)) {
    std::vector<double> column(static_cast<size_t>(k));
    for (int64_t j = 0; j < n; j++) {
      for (int64_t p = 0; p < k; p++) column[size_t(p)] = b(p, j);
      for (int64_t i = 0; i < m; i++) {
        double sum = 0, magnitude = 0;
        for (int64_t p = 0; p < k; p++) {
          const double term = a(i, p) * column[size_t(p)];
          sum += term, magnitude += std::fabs(term);
        }
        sums[size_t(i * n + j)] = sum, magnitudes[size_t(i * n + j)] = magnitude;
      }
    }
  }
};

/** Worst error over what f32 sums of these terms, and the output's rounding, may cost. */
double excess(const Tensor& out, int64_t row0, int64_t n, const Reference& wanted, double scale, const Tensor* before) {
  double worst = 0;
  for (size_t e = 0; e < wanted.sums.size(); e++) {
    const int64_t at = row0 * n + int64_t(e);
    const double old = before ? before->get(at) : 0, w = old + scale * wanted.sums[e], g = out.get(at);
    double allowed = 6e-7 * (std::fabs(scale) * wanted.magnitudes[e] + std::fabs(old)) + 1e-30;
    if (out.operand.dtype == DType::bf16) allowed += std::fabs(w) * 0x1p-8;
    const double error = std::fabs(g - w) / allowed;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

struct Shape {
  int64_t m, k, n;
};

void gemmCase(const graft::Pool& pool, Shape s, int mix, bool ta, bool tb, bool accumulate, double scale, bool several,
              const std::vector<int>& otherThreads = {1, 3}) {
  const int64_t outRow = several ? 2 : 0, aRow = several ? 1 : 0, bRow = several ? 3 : 0;
  const DType dtypes[3] = {mixed(mix, 0), mixed(mix, 1), mixed(mix, 2)};
  const Tensor a = randomTensor(dtypes[1], {(ta ? s.k : s.m) + aRow + 1, ta ? s.m : s.k});
  const Tensor b = randomTensor(dtypes[2], {(tb ? s.n : s.k) + bRow + 1, tb ? s.k : s.n});
  const Tensor before = randomTensor(dtypes[0], {s.m + outRow + 1, s.n});
  const Params params{{"m", s.m}, {"k", s.k}, {"n", s.n}, {"ta", ta}, {"tb", tb}, {"scale", scale}, {"accumulate", accumulate},
                      {"outRow", outRow}, {"aRow", aRow}, {"bRow", bRow}};
  Tensor out = before.copy();
  call(pool, "gemm", nullptr, {out.operand, a.operand, b.operand}, params);

  const auto left = [&](int64_t i, int64_t p) { return ta ? a.get((aRow + p) * s.m + i) : a.get((aRow + i) * s.k + p); };
  const auto right = [&](int64_t p, int64_t j) { return tb ? b.get((bRow + j) * s.k + p) : b.get((bRow + p) * s.n + j); };
  double worst = excess(out, outRow, s.n, Reference(s.m, s.n, s.k, left, right), scale, accumulate ? &before : nullptr);
  // bf16 instructions round an f32 factor to bf16.
  if (worst > 1 && pairs && dtypes[1] == DType::bf16)
    worst = std::min(worst, excess(out, outRow, s.n, Reference(s.m, s.n, s.k, left, [&](int64_t p, int64_t j) { return toBF16(right(p, j)); }),
                                   scale, accumulate ? &before : nullptr));
  char what[200];
  std::snprintf(what, sizeof what, "gemm m=%d k=%d n=%d ta=%d tb=%d dtypes(out,a,b)=%d%d%d accumulate=%d scale=%g", int(s.m), int(s.k),
                int(s.n), ta, tb, int(dtypes[0]), int(dtypes[1]), int(dtypes[2]), accumulate, scale);
  check(what, worst, 1);
  const size_t rowBytes = size_t(s.n * graft::bytesOf(dtypes[0])), last = size_t(outRow + s.m) * rowBytes;
  check(std::string(what) + ": rows around the output",
        std::memcmp(out.operand.as<char>(), before.operand.as<char>(), size_t(outRow) * rowBytes) != 0 ||
          std::memcmp(out.operand.as<char>() + last, before.operand.as<char>() + last, rowBytes) != 0, 0);
  for (int threads : otherThreads) {
    Tensor again = before.copy();
    graft::Pool other = poolOf(threads).pool;
    other.sharedBytes = pool.sharedBytes;
    call(other, "gemm", nullptr, {again.operand, a.operand, b.operand}, params);
    check(std::string(what) + ": bits with other threads", !same(out, again), 0);
  }
}

void testGemm() {
  const Shape shapes[] = {{1, 1, 1},    {1, 7, 5},     {1, 300, 50},  {2, 129, 33}, {3, 200, 17},  {4, 515, 49}, {5, 64, 8},   {6, 16, 16}, {7, 300, 31},
                          {13, 257, 40}, {64, 8, 100},  {65, 520, 70}, {33, 16, 260}, {130, 33, 300}, {300, 130, 9}, {90, 140, 8}, {257, 17, 129}, {40, 1030, 50},
                          {97, 1, 64},  {16, 48, 1000}, {300, 40, 16}, {20, 0, 9}};
  int number = 0;
  for (const Shape& s : shapes)
    for (int mix = 0; mix < 8; mix++)
      for (int t = 0; t < 4; t++) {
        number++;
        gemmCase(poolOf(2).pool, s, mix, t & 1, t & 2, number % 3 == 0, number % 2 ? 1 : -0.37, number % 5 == 0);
      }
}

/** Blocks that the sizes above do not reach: several passes over rows, over columns, over k. */
void testBlocking() {
#if !GRAFT_SCALAR
  for (int mix = 0; mix < 8; mix++) {
    gemmCase(smallPool(2, 200 << 10), {500, 300, 70}, mix, false, true, false, 1, false);      // many passes over rows
    gemmCase(smallPool(2, 200 << 10), {70, 2600, 90}, mix, mix & 1, mix & 2, mix & 1, 0.5, false);  // k split
    gemmCase(smallPool(2, 100 << 10), {50, 3000, 400}, mix, mix & 2, mix & 4, true, 1, true);  // k and columns split
  }
  gemmCase(poolOf(2).pool, {1300, 530, 66}, 1, false, true, false, 1, false);
  gemmCase(poolOf(2).pool, {70, 130000, 12}, 0, false, false, false, 1, false);
  gemmCase(poolOf(2).pool, {400, 24000, 7}, 7, true, false, true, 1, false);
#endif
}

/** Columns [0, n) of a [rows, columns] tensor. */
[[maybe_unused]] Tensor firstColumns(const Tensor& a, int64_t rows, int64_t columns, int64_t n) {
  Tensor some(a.operand.dtype, {rows, n});
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < n; j++) some.set(i * n + j, a.get(i * columns + j));
  return some;
}

/** A narrow side on the left or right, stored either way; its sums have the bits of a wider product's. */
void testNarrow() {
  int number = 0;
  for (int64_t rank : {5, 8, 9, 16, 17, 33, 64})
    for (const auto& [count, k] : {std::pair<int64_t, int64_t>{577, 131}, {133, 515}, {32, 1041}, {64, 256}})
      for (int t = 0; t < 8; t++) {
        const bool left = t & 4;
        number++;
        gemmCase(poolOf(2).pool, left ? Shape{rank, k, count} : Shape{count, k, rank}, number % 8, t & 1, t & 2, number % 3 == 0,
                 number % 2 ? 1 : -0.37, number % 5 == 0, {1, 3, 4, 7});
      }
#if !GRAFT_SCALAR
  for (int64_t rank : {5, 8, 16, 24, 33, 64})
    for (int mix = 0; mix < 4; mix++)
      for (int t = 0; t < 4; t++) {
        const int64_t count = 205, k = 700, wide = 100;
        const bool ta = t & 1, tb = t & 2;
        if (!ta && tb && rank <= graft::GRAFT_ISA::panels::dotColumnsAtMost) continue;  // dot products have an order of their own
        const Tensor a = randomTensor(mixed(mix, 0), {ta ? k : count, ta ? count : k}), b = randomTensor(mixed(mix, 1), {tb ? wide : k, tb ? k : wide});
        const Tensor some = tb ? firstColumns(b, rank, k, k) : firstColumns(b, k, wide, rank);
        Tensor all(DType::f32, {count, wide}), narrow(DType::f32, {count, rank});
        const auto params = [&](int64_t n) {
          return Params{{"m", count}, {"k", k}, {"n", n}, {"ta", ta}, {"tb", tb}, {"scale", 1}, {"accumulate", 0}, {"outRow", 0}, {"aRow", 0}, {"bRow", 0}};
        };
        call(poolOf(2).pool, "gemm", nullptr, {all.operand, a.operand, b.operand}, params(wide));
        call(poolOf(2).pool, "gemm", nullptr, {narrow.operand, a.operand, some.operand}, params(rank));
        check("gemm: bits of a narrow product, rank " + std::to_string(rank), !same(narrow, firstColumns(all, count, wide, rank)), 0);
      }
#endif
}

/** A row's bits must not depend on the rows and columns computed with it. */
void testCompany() {
#if !GRAFT_SCALAR
  for (int mix = 0; mix < 8; mix++) {
    const int64_t m = 300, k = 700, n = 90;
    const Tensor a = randomTensor(mixed(mix, 1), {m, k}), b = randomTensor(mixed(mix, 2), {n, k});
    Tensor all(mixed(mix, 0), {m, n});
    const auto params = [&](int64_t rows, int64_t columns, int64_t aRow, int64_t bRow) {
      return Params{{"m", rows}, {"k", k}, {"n", columns}, {"ta", 0}, {"tb", 1}, {"scale", 1}, {"accumulate", 0}, {"outRow", 0}, {"aRow", aRow}, {"bRow", bRow}};
    };
    call(poolOf(2).pool, "gemm", nullptr, {all.operand, a.operand, b.operand}, params(m, n, 0, 0));
    for (const auto& [rows, row0, columns, column0] : {std::array<int64_t, 4>{17, 100, 90, 0}, {9, 3, 90, 0}, {300, 0, 17, 70}, {100, 11, 20, 40}}) {
      Tensor some(mixed(mix, 0), {rows, columns});
      call(poolOf(2).pool, "gemm", nullptr, {some.operand, a.operand, b.operand}, params(rows, columns, row0, column0));
      double different = 0;
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
          different += some.get(i * columns + j) != all.get((row0 + i) * n + column0 + j);
      check("gemm: bits in other company", different, 0);
    }
  }
#endif
}

/** What is not finite stays in its own row and column. */
void testInfinity() {
  for (int mix = 0; mix < 4; mix++)
    for (const Shape& s : {Shape{2, 131, 21}, Shape{20, 131, 21}}) {
      Tensor a = randomTensor(mixed(mix, 0), {s.m, s.k}), b = randomTensor(mixed(mix, 1), {s.n, s.k});
      a.set(1 * s.k + s.k - 1, INFINITY);
      b.set(3 * s.k + 0, NAN);
      Tensor out(DType::f32, {s.m, s.n});
      call(poolOf(2).pool, "gemm", nullptr, {out.operand, a.operand, b.operand},
           {{"m", s.m}, {"k", s.k}, {"n", s.n}, {"ta", 0}, {"tb", 1}, {"scale", 1}, {"accumulate", 0}, {"outRow", 0}, {"aRow", 0}, {"bRow", 0}});
      double wrong = 0;
      for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
          const double x = out.get(i * s.n + j);
          wrong += j == 3 ? !std::isnan(x) : i == 1 ? !std::isinf(x) : !std::isfinite(x);
        }
      check("gemm: infinity and NaN", wrong, 0);
    }
}

/** A codec that only gives rows: an 8-bit integer and a scale a row. */
void eightBitRow(const graft_weight* w, float* dst, int64_t row, int64_t col0, int64_t cols) {
  const auto* codes = static_cast<const int8_t*>(w->storage[0].data) + row * w->in + col0;
  const float scale = static_cast<const float*>(w->storage[1].data)[row];
  for (int64_t c = 0; c < cols; c++) dst[c] = scale * float(codes[c]);
}
/** As from a header that ended with row_f32: what follows is not part of the record. */
const graft_panel_source eightBit{offsetof(graft_panel_source, fill_f32), 2, eightBitRow,
                                  reinterpret_cast<decltype(graft_panel_source::fill_f32)>(1), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                  nullptr};

struct CodecCase {
  std::string name;
  const graft_panel_source* source;
  std::vector<Tensor> storage;
  std::vector<double> values;
};
CodecCase codecCase(int kind, int64_t out, int64_t in) {
  if (kind < 3) {
    const DType dtype = kind == 0 ? DType::f32 : kind == 1 ? DType::bf16 : DType::f16;
    const Tensor w = randomTensor(dtype, {out, in});
    return {"dense", sources.at("dense"), {w}, w.values()};
  }
  const Tensor codes(DType::i8, {out, in}), scales = randomTensor(DType::f32, {out});
  std::vector<double> values;
  for (int64_t e = 0; e < out * in; e++) {
    codes.operand.as<int8_t>()[e] = int8_t(uniform(-127, 127));
    values.push_back(float(scales.get(e / in)) * float(codes.operand.as<int8_t>()[e]));
  }
  return {"eightBit", &eightBit, {codes, scales}, values};
}

void testWeights() {
  for (int kind = 0; kind < 4; kind++)
    for (const Shape& s : {Shape{1, 130, 70}, Shape{3, 1000, 101}, Shape{9, 64, 200}, Shape{70, 333, 100}, Shape{140, 40, 37}, Shape{2, 5, 3}}) {
      const int64_t out = s.n, in = s.k;
      const CodecCase codec = codecCase(kind, out, in);
      for (int mix = 0; mix < 4; mix++)
        for (bool transposed : {false, true})
          for (bool accumulate : {false, true}) {
            const int64_t from = transposed ? out : in, to = transposed ? in : out, xRow = 1, yRow = 2;
            const Tensor x = randomTensor(mixed(mix, 1), {s.m + 2, from}), before = randomTensor(mixed(mix, 0), {s.m + 3, to});
            Tensor y = before.copy(), again = before.copy();
            const Params params{{"out", out}, {"in", in}, {"accumulate", accumulate}, {"xRow", xRow}, {"yRow", yRow}, {"rows", s.m}};
            const std::string method = transposed ? "X.applyTransposed" : "X.apply";
            std::vector<Operand> operands{y.operand, x.operand};
            for (const Tensor& t : codec.storage) operands.push_back(t.operand);
            call(poolOf(2).pool, method, codec.source, operands, params);
            operands[0] = again.operand;
            call(poolOf(3).pool, method, codec.source, operands, params);
            const auto left = [&](int64_t i, int64_t p) { return x.get((xRow + i) * from + p); };
            const auto right = [&](int64_t p, int64_t j) { return codec.values[size_t(transposed ? p * in + j : j * in + p)]; };
            double worst = excess(y, yRow, to, Reference(s.m, to, from, left, right), 1, accumulate ? &before : nullptr);
            if (worst > 1 && pairs && x.operand.dtype == DType::bf16)
              worst = excess(y, yRow, to, Reference(s.m, to, from, left, [&](int64_t p, int64_t j) { return toBF16(right(p, j)); }), 1,
                             accumulate ? &before : nullptr);
            const std::string what = codec.name + std::to_string(kind) + method + " m=" + std::to_string(s.m) + " in=" + std::to_string(in) + " out=" + std::to_string(out);
            check(what, worst, 1);
            check(what + ": bits with other threads", !same(y, again), 0);
            double touched = 0;
            for (int64_t e = 0; e < y.size(); e++)
              if (e < yRow * to || e >= (yRow + s.m) * to) touched += y.get(e) != before.get(e);
            check(what + ": rows around the output", touched, 0);
          }
      for (DType dtype : {DType::f32, DType::bf16}) {
        const auto rounding = [&](double v) { return dtype == DType::bf16 ? toBF16(v) : v; };
        Tensor rows(dtype, {out - 2, in}), gathered(dtype, {4, in}), ids(DType::i32, {4});
        std::vector<Operand> operands{rows.operand};
        for (const Tensor& t : codec.storage) operands.push_back(t.operand);
        call(poolOf(2).pool, "X.dequantizeRows", codec.source, operands, {{"out", out}, {"in", in}, {"firstRow", 1}});
        double wrong = 0;
        for (int64_t e = 0; e < rows.size(); e++) wrong += rows.get(e) != rounding(codec.values[size_t(in + e)]);
        const int32_t wanted[4] = {int32_t(out - 1), 0, int32_t(out / 2), 0};
        std::memcpy(ids.operand.data, wanted, sizeof wanted);
        operands = {gathered.operand, ids.operand};
        for (const Tensor& t : codec.storage) operands.push_back(t.operand);
        call(poolOf(2).pool, "X.gatherRows", codec.source, operands, {{"out", out}, {"in", in}});
        for (int64_t e = 0; e < gathered.size(); e++) wrong += gathered.get(e) != rounding(codec.values[size_t(wanted[e / in] * in + e % in)]);
        check(codec.name + ": rows", wrong, 0);
      }
      Tensor norms(DType::f32, {out});
      std::vector<Operand> operands{norms.operand};
      for (const Tensor& t : codec.storage) operands.push_back(t.operand);
      call(poolOf(2).pool, "X.rowNormsSquared", codec.source, operands, {{"out", out}, {"in", in}});
      std::vector<double> wanted(size_t(out), 0.0);
      for (int64_t e = 0; e < out * in; e++) wanted[size_t(e / in)] += codec.values[size_t(e)] * codec.values[size_t(e)];
      compare(codec.name + ": norms", norms, wanted, 1e-6, 0);
    }
}

/** What a dense weight lists of a block: no more than there is room for, each line within the block's rows, each row begun. */
void testLines() {
#if !GRAFT_SCALAR
  for (int kind = 0; kind < 3; kind++) {
    const int64_t out = 40, in = 203, row0 = 3, rows = 30, col0 = 17, cols = 150;
    const CodecCase codec = codecCase(kind, out, in);
    const Operand& w = codec.storage[0].operand;
    const int64_t size = graft::bytesOf(w.dtype), ofRow = (cols * size + 63) / 64;
    const graft_weight weight{out, in, reinterpret_cast<const graft_operand*>(&w), 1, nullptr};
    for (int64_t room : {int64_t{2048}, rows * ofRow, 7 * ofRow + 1, ofRow - 1}) {
      std::vector<const void*> lines(size_t(room) + 1, nullptr);
      const int64_t count = codec.source->lines(&weight, lines.data(), room, row0, rows, col0, cols);
      double wrong = count != std::min(rows, room / ofRow) * ofRow || lines[size_t(count)] != nullptr;
      for (int64_t l = 0; l < count; l++) {
        const int64_t at = static_cast<const char*>(lines[size_t(l)]) - w.as<const char>() - ((row0 + l / ofRow) * in + col0) * size;
        wrong += at != l % ofRow * 64;
      }
      check("lines of a dense weight", wrong, 0);
    }
  }
#endif
}

/** An id outside the table is a fault, not a read. */
void testFault() {
  const CodecCase codec = codecCase(0, 10, 8);
  for (int32_t id : {-1, 10}) {
    Tensor out(DType::f32, {1, 8}), ids(DType::i32, {1});
    *ids.operand.as<int32_t>() = id;
    graft::Pool pool = poolOf(2).pool;
    static int faults;
    faults = 0;
    pool.setFault = [](void*, const char*) { faults++; };
    call(pool, "X.gatherRows", codec.source, {out.operand, ids.operand, codec.storage[0].operand}, {{"out", 10}, {"in", 8}});
    check("gatherRows: a fault for an id outside", faults != 1, 0);
  }
}

struct TailCase {
  int64_t rank, hRow;
  bool transposed, hTransposed, accumulate;
  double scale;
};

/** y (+)= x W^T + s h B^T and dx (+)= dy W + s h A, alone and in parts, with other threads, against a sum in double. */
void tailCase(const graft::Pool& pool, int kind, Shape s, int mix, TailCase c) {
  const auto& [rank, hRow, transposed, hTransposed, accumulate, scale] = c;
  const int64_t out = s.n, in = s.k, from = transposed ? out : in, to = transposed ? in : out, xRow = 1, yRow = 2;
  const CodecCase codec = codecCase(kind, out, in);
  const Tensor x = randomTensor(mixed(mix, 1), {s.m + 2, from}), before = randomTensor(mixed(mix, 0), {s.m + 3, to});
  // What surrounds h is NaN.
  Tensor h(mixed(mix, 2), hTransposed ? std::vector<int64_t>{hRow + rank + 1, s.m} : std::vector<int64_t>{hRow + s.m + 1, rank});
  for (int64_t e = 0; e < s.m * rank; e++) h.set(hRow * (hTransposed ? s.m : rank) + e, normal());
  const Tensor factor = randomTensor(mixed(mix, 3), transposed ? std::vector<int64_t>{rank, in} : std::vector<int64_t>{out, rank});
  const auto run = [&](const graft::Pool& on, Tensor& y, const Tensor& hidden, int64_t first, int64_t rows, int64_t at) {
    std::vector<Operand> operands{y.operand, x.operand, hidden.operand, factor.operand};
    for (const Tensor& t : codec.storage) operands.push_back(t.operand);
    call(on, transposed ? "X.applyTransposedWithTail" : "X.applyWithTail", codec.source, operands,
         {{"out", out}, {"in", in}, {"accumulate", accumulate}, {"xRow", xRow + first}, {"yRow", at}, {"rows", rows},
          {"rank", rank}, {"hRow", hTransposed ? hRow : hRow + first}, {"hTransposed", hTransposed}, {"scale", scale}});
  };
  Tensor y = before.copy();
  run(pool, y, h, 0, s.m, yRow);
  char what[200];
  std::snprintf(what, sizeof what, "%s%d with tail m=%d in=%d out=%d rank=%d transposed=%d h transposed=%d accumulate=%d mix=%d", codec.name.c_str(),
                kind, int(s.m), int(in), int(out), int(rank), transposed, hTransposed, accumulate, mix);

  const auto left = [&](int64_t i, int64_t p) {
    return p < from ? x.get((xRow + i) * from + p) : h.get(hTransposed ? (hRow + p - from) * s.m + i : (hRow + i) * rank + p - from);
  };
  const auto right = [&](int64_t p, int64_t j) {
    if (p < from) return codec.values[size_t(transposed ? p * in + j : j * in + p)];
    return double(float(scale) * float(factor.get(transposed ? (p - from) * in + j : j * rank + p - from)));
  };
  const Tensor* old = accumulate ? &before : nullptr;
  double worst = excess(y, yRow, to, Reference(s.m, to, from + rank, left, right), 1, old);
  if (worst > 1 && pairs && x.operand.dtype == DType::bf16 && h.operand.dtype == DType::bf16)
    worst = std::min(worst, excess(y, yRow, to, Reference(s.m, to, from + rank, left, [&](int64_t p, int64_t j) { return toBF16(right(p, j)); }), 1, old));
  check(what, worst, 1);
  double touched = 0;
  for (int64_t e = 0; e < y.size(); e++)
    if (e < yRow * to || e >= (yRow + s.m) * to) touched += y.get(e) != before.get(e);
  check(std::string(what) + ": rows around the output", touched, 0);
  for (int threads : {1, 3}) {
    graft::Pool other = poolOf(threads).pool;
    other.sharedBytes = pool.sharedBytes;
    Tensor again = before.copy();
    run(other, again, h, 0, s.m, yRow);
    check(std::string(what) + ": bits with other threads", !same(y, again), 0);
  }
#if !GRAFT_SCALAR
  // A part of the rows has the bits of the whole, as long as it is no product of few rows where the whole is none.
  const int64_t part = s.m > 30 ? s.m / 3 : 0;
  if (part > 8) {
    const int64_t first = s.m - part - 1;
    Tensor cut(h.operand.dtype, {hRow + rank, part}), some = before.copy();
    if (hTransposed)
      for (int64_t p = 0; p < rank; p++)
        for (int64_t t = 0; t < part; t++) cut.set((hRow + p) * part + t, h.get((hRow + p) * s.m + first + t));
    run(pool, some, hTransposed ? cut : h, first, part, yRow + first);
    double different = 0;
    for (int64_t e = (yRow + first) * to; e < (yRow + first + part) * to; e++) different += some.get(e) != y.get(e);
    check(std::string(what) + ": bits in other company", different, 0);
  }
#endif
}

void testTails() {
  int number = 0;
  for (int kind = 0; kind < 4; kind++)
    for (const Shape& s : {Shape{1, 130, 70}, Shape{3, 1000, 101}, Shape{7, 600, 35}, Shape{9, 64, 200}, Shape{70, 333, 100}, Shape{140, 40, 37}, Shape{2, 5, 3}})
      for (int mix = 0; mix < 16; mix++) {
        const int64_t ranks[] = {16, 1, 8, 33, 64, 300};
        for (bool transposed : {false, true}) {
          number++;
          tailCase(poolOf(2).pool, kind, s, mix,
                   {ranks[number % 6], number % 4 ? 0 : 5, transposed, number / 2 % 2 == 0, number % 3 == 0, number % 5 ? 2 : -0.37});
        }
      }
#if !GRAFT_SCALAR
  for (int mix : {0, 5, 10, 15})
    for (bool transposed : {false, true}) {
      tailCase(smallPool(2, 200 << 10), 1, {300, 300, 310}, mix, {16, 3, transposed, true, false, 2});    // passes over rows
      tailCase(smallPool(2, 200 << 10), 3, {70, 2600, 2590}, mix, {16, 0, transposed, false, true, 0.5});  // k split
      tailCase(smallPool(2, 60 << 10), 0, {90, 1500, 1100}, mix, {40, 1, transposed, true, true, 1});     // k and columns split
      tailCase(smallPool(2, 4 << 10), 0, {4, 300, 310}, mix, {16, 1, transposed, true, false, 1});        // few rows, no room
    }
#endif
}

}  // namespace

int main() {
  graft::GRAFT_ISA::register_gemm(table);
  graft::GRAFT_ISA::register_weight(table);
  graft::GRAFT_ISA::register_dense(table);
  testGemm();
  testBlocking();
  testCompany();
  testInfinity();
  testWeights();
  testFault();
  testTails();
  testLines();
  testNarrow();
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures != 0;
}
