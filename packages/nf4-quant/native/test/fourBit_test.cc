// 4-bit weights of random shapes against the formula, written once more here without a vector or a table: codes, scales,
// decoded rows and panels bit for bit, products within rounding. One program an instruction set (see Makefile).
#include "harness.h"

#include <graft/panel.h>

#include "../codebook.h"

namespace graft {
namespace GRAFT_ISA {
void register_fourBit(Registry& registry);
void register_quantize(Registry& registry);
void register_weight(Registry& registry);
}  // namespace GRAFT_ISA
}  // namespace graft

using namespace test;
using graft::DType;
using graft::Operand;

namespace {

std::map<std::string, const graft_panel_source*> sources;
std::map<std::string, const graft_scale_reader*> readers;

int64_t below(int64_t n) { return int64_t(randomness() % uint64_t(n)); }
float bitsToFloat(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

struct Quantized {
  std::vector<uint8_t> packed;
  std::vector<float> absmax;
};
/** Codes and scales of x, as the format has them. */
Quantized quantized(const graft::GRAFT_ISA::Codebook& book, const std::vector<double>& x, int64_t block) {
  const auto n = int64_t(x.size());
  Quantized q{std::vector<uint8_t>(size_t((n + 1) / 2)), {}};
  const auto codeOf = [&](float scaled) {
    int place = 0;
    for (int j = 0; j < 15; j++) place += scaled > (book.values[book.order[j]] + book.values[book.order[j + 1]]) / 2.0f;
    return book.order[place];
  };
  for (int64_t e = 0; e < n; e += block) {
    const int64_t end = std::min(n, e + block);
    float top = 0;
    for (int64_t i = e; i < end; i++) top = std::max(top, std::fabs(float(x[size_t(i)])));
    const bool partial = end - e < block;
    const float divisor = std::max(top, 1e-38f), reciprocal = 1.0f / divisor;
    q.absmax.push_back(partial ? divisor : top);
    for (int64_t i = e; i < end; i++) {
      const float value = float(x[size_t(i)]), scaled = partial ? value / divisor : value * reciprocal;
      q.packed[size_t(i / 2)] |= uint8_t(codeOf(scaled) << (i % 2 == 0 ? 4 : 0));
    }
  }
  if (n % 2 == 1) q.packed[size_t(n / 2)] |= uint8_t(codeOf(0));
  return q;
}

struct Weight {
  std::string codec;
  int64_t out, in, block;
  Tensor packed, absmax;
  std::vector<float> values;  // W, row by row
  graft_operand storage[2];
  graft_weight w;

  Weight(const Weight&) = delete;
  Weight(const std::string& codec, int64_t out, int64_t in, int64_t block, DType source)
      : codec(codec), out(out), in(in), block(block), packed(DType::u8, {(out * in + 1) / 2}),
        absmax(DType::f32, {(out * in + block - 1) / block}) {
    const std::string what = codec + " " + std::to_string(out) + "x" + std::to_string(in) + " block " + std::to_string(block);
    Tensor x = randomTensor(source, {out * in}, std::exp(uniform(-30, 30)));
    // Zeros, blocks of them, and values that are midpoints of a block's own.
    for (int64_t k = below(4); k > 0; k--) x.set(below(x.size()), k == 1 ? -0.0 : 0.0);
    if (below(4) == 0)
      for (int64_t i = 0; i < std::min(block, x.size()); i++) x.set(i, 0);
    const graft::GRAFT_ISA::Codebook& book = codec == "nf4" ? graft::GRAFT_ISA::nf4 : graft::GRAFT_ISA::fp4;
    if (below(3) == 0 && x.size() >= block) {
      x.set(0, 1);
      for (int64_t i = 1; i < block; i++) x.set(i, below(2) == 0 ? double(book.bounds[below(15)]) : uniform(-1, 1));
    }
    const Tensor name(DType::u8, {1});
    runOnce(codec + ".quantize", {packed, absmax, x, name}, {{"block", double(block)}, {"columns", double(in)}}, 0, 2);
    const Quantized wanted = quantized(book, x.values(), block);
    check(what + ": codes", std::memcmp(packed.operand.data, wanted.packed.data(), wanted.packed.size()) != 0, 0);
    check(what + ": scales", std::memcmp(absmax.operand.data, wanted.absmax.data(), wanted.absmax.size() * 4) != 0, 0);
    if (below(3) == 0) absmax.set(below(absmax.size()), below(2) == 0 ? 3e-39 : 1e-37);  // bf16 of these products is denormal
    values.resize(size_t(out * in));
    for (int64_t e = 0; e < out * in; e++)
      values[size_t(e)] = book.values[wanted.packed[size_t(e / 2)] >> (e % 2 == 0 ? 4 : 0) & 15] * absmax.operand.as<float>()[e / block];
    std::memcpy(storage, &packed.operand, sizeof(graft_operand));
    std::memcpy(storage + 1, &absmax.operand, sizeof(graft_operand));
    w = {out, in, storage, 2, readers.at("f32")};
  }
  float at(int64_t row, int64_t column) const { return values[size_t(row * in + column)]; }
  std::string name() const { return codec + " " + std::to_string(out) + "x" + std::to_string(in) + " block " + std::to_string(block); }
};

uint16_t halfOf(float x) {
  uint32_t bits;
  const float rounded = float(toBF16(x));
  std::memcpy(&bits, &rounded, 4);
  return uint16_t(bits >> 16);
}

void testRows(const Weight& weight) {
  const graft_panel_source* source = sources.at(weight.codec);
  for (int k = 0; k < 4; k++) {
    const int64_t row = below(weight.out), column = below(weight.in), count = 1 + below(weight.in - column);
    std::vector<float> got(size_t(count + 1), 7.0f);
    source->row_f32(&weight.w, got.data(), row, column, count);
    std::vector<uint16_t> halves(size_t(count + 1), 7);
    source->row_bf16(&weight.w, halves.data(), row, column, count);
    int wrong = got[size_t(count)] != 7.0f || halves[size_t(count)] != 7;
    for (int64_t i = 0; i < count; i++)
      wrong += got[size_t(i)] != weight.at(row, column + i) || bitsToFloat(uint32_t(halves[size_t(i)]) << 16) != bitsToFloat(uint32_t(halfOf(weight.at(row, column + i))) << 16);
    check(weight.name() + ": rows", wrong, 0);
  }
  if (source->rows_f32 == nullptr) return;
  for (int k = 0; k < 4; k++) {
    const int64_t row0 = below(weight.out), rows = 1 + below(std::min<int64_t>(20, weight.out - row0));
    const int64_t column = below(2) == 0 ? 0 : below(weight.in), count = 1 + below(weight.in - column), stride = (count + 63) / 64 * 64;
    std::vector<float> got(size_t(rows * stride + 1), 7.0f);
    source->rows_f32(&weight.w, got.data(), stride, row0, rows, column, count);
    std::vector<uint16_t> halves(size_t(rows * stride + 1), 7);
    if (source->rows_bf16 != nullptr) source->rows_bf16(&weight.w, halves.data(), stride, row0, rows, column, count);
    int wrong = got.back() != 7.0f || halves.back() != 7;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < count; i++) {
        const float wanted = weight.at(row0 + r, column + i);
        const size_t at = size_t(r * stride + i);
        wrong += got[at] != wanted || (source->rows_bf16 != nullptr && halves[at] != halfOf(wanted));
      }
    check(weight.name() + ": several rows", wrong, 0);
  }
}

void testPanels(const Weight& weight) {
  const graft_panel_source* source = sources.at(weight.codec);
  constexpr int64_t slack = 64;
  for (int k = 0; k < 6; k++) {
    const int64_t row0 = below(weight.out), rows = 1 + below(std::min<int64_t>(70, weight.out - row0));
    int64_t column0 = below(weight.in), columns = 1 + below(std::min<int64_t>(600, weight.in - column0));
    if (below(2) == 0) column0 = 0, columns = std::min<int64_t>(weight.in, 512);
    const bool transposed = below(2) == 1;
    constexpr int64_t widths[] = {16, 32, 12, 8, 48};
    const int64_t width = widths[below(5)];
    if (width % (GRAFT_LANES_OF_TEST) != 0) continue;
    const int64_t outputs = transposed ? columns : rows, steps = transposed ? rows : columns;
    const auto element = [&](int64_t o, int64_t p) {
      return o >= outputs || p >= steps ? 0.0f : transposed ? weight.at(row0 + p, column0 + o) : weight.at(row0 + o, column0 + p);
    };
    if (source->fill_f32 != nullptr) {
      const int64_t panels = (outputs + width - 1) / width;
      Tensor dst(DType::f32, {panels * width * steps + slack});
      source->fill_f32(&weight.w, dst.operand.as<float>(), width, row0, rows, column0, columns, transposed);
      int wrong = 0;
      for (int64_t o = 0; o < panels * width; o++)
        for (int64_t p = 0; p < steps; p++)
          wrong += dst.operand.as<float>()[(o / width * steps + p) * width + o % width] != element(o, p);
      check(weight.name() + ": panels of f32", wrong, 0);
    }
    const int64_t start = transposed ? row0 : column0;
    if (source->fill_bf16 != nullptr && start % 2 == 0) {
      const int64_t panels = (outputs + width - 1) / width, pairs = (steps + 1) / 2;
      Tensor dst(DType::i32, {panels * width * pairs + slack});
      source->fill_bf16(&weight.w, dst.operand.as<uint32_t>(), width, row0, rows, column0, columns, transposed);
      int wrong = 0;
      for (int64_t o = 0; o < panels * width; o++)
        for (int64_t p = 0; p < pairs; p++) {
          const uint32_t pair = dst.operand.as<uint32_t>()[(o / width * pairs + p) * width + o % width];
          wrong += bitsToFloat(pair << 16) != float(toBF16(element(o, 2 * p))) || bitsToFloat(pair & 0xffff0000u) != float(toBF16(element(o, 2 * p + 1)));
        }
      check(weight.name() + ": panels of bf16", wrong, 0);
    }
  }
}

Tensor product(const Weight& weight, const Tensor& x, bool back, DType dtype, int threads) {
  const int64_t tokens = x.shape[0];
  const Tensor y(dtype, {tokens, back ? weight.in : weight.out});
  const Operand operands[4] = {y.operand, x.operand, weight.packed.operand, weight.absmax.operand};
  const double params[6] = {double(weight.out), double(weight.in), 0, 0, 0, double(tokens)};
  kernels.at(back ? "X.applyTransposed" : "X.apply")
      .body(graft::Call{operands, 4, params, 6, nullptr, poolOf(threads).pool, sources.at(weight.codec), readers.at("f32")});
  return y;
}

void testProducts(const Weight& weight, int64_t tokens, bool back, DType dtype) {
  const int64_t k = back ? weight.out : weight.in, n = back ? weight.in : weight.out;
  const Tensor x = randomTensor(dtype, {tokens, k});
  const std::string what = weight.name() + (back ? ": dx of " : ": y of ") + std::to_string(tokens) + (dtype == DType::f32 ? " f32" : " bf16");
  const Tensor y = product(weight, x, back, dtype, 1);
  const bool integers = !back && dtype == DType::bf16 && k % 32 == 0;
  std::vector<double> tops(integers ? size_t(x.size()) : 0);  // of each element's neighbours
  if (integers)
    for (int64_t i = 0; i < x.size(); i++) {
      const int64_t t = i / k, start = i % k / 64 * 64, end = std::min(k, start + 64);
      double top = 0;
      for (int64_t p = start; p < end; p++) top = std::max(top, std::fabs(x.get(t * k + p)));
      tops[size_t(i)] = top;
    }
  double worst = 0;
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t o = 0; o < n; o++) {
      double sum = 0, magnitude = 0;
      for (int64_t p = 0; p < k; p++) {
        const double w = back ? weight.at(p, o) : weight.at(o, p), value = x.get(t * k + p);
        // Where x becomes integers, over the largest of 64 neighbours, that one counts too.
        const double size = std::fabs(value) + (integers ? tops[size_t(t * k + p)] * 0x1p-6 : 0);
        sum += value * w, magnitude += size * w * size * w;
      }
      // Rounding's share of a term, added up as independent errors are.
      const double share = dtype == DType::f32 ? 0x1p-19 : 0x1p-8, stored = dtype == DType::f32 ? 0 : std::fabs(sum) * 0x1p-8;
      const double error = std::fabs(y.get(t * n + o) - sum) - stored;
      if (!(error <= 0)) worst = std::max(worst, error / (std::sqrt(magnitude) * share * 4 + 1e-30));
      if (std::isnan(error)) worst = INFINITY;
    }
  check(what, worst, 1);
  for (int threads : {2, 3, 7}) {
    const Tensor other = product(weight, x, back, dtype, threads);
    check(what + ": same bits for any number of threads", std::memcmp(other.operand.data, y.operand.data, y.bytes()) != 0, 0);
  }
  if (back || tokens > 8 || k < 128) return;
  const int64_t size = graft::bytesOf(dtype);
  for (int64_t t = 0; t < tokens; t++) {
    Tensor one(dtype, {1, k});
    std::memcpy(one.operand.data, x.operand.as<char>() + t * k * size, size_t(k * size));
    const Tensor alone = product(weight, one, back, dtype, 1);
    check(what + ": a token alone has the same bits", std::memcmp(alone.operand.data, y.operand.as<char>() + t * n * size, size_t(n * size)) != 0, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 60;
  if (argc > 2) randomness.seed(uint64_t(atoll(argv[2])));
  graft::Registry table{registry.self, registry.addKernel,
                        [](void*, const char* codec, const graft_panel_source* source) { sources[codec] = source; },
                        [](void*, const char* format, const graft_scale_reader* reader) { readers[format] = reader; }};
  graft::GRAFT_ISA::register_fourBit(table);
  graft::GRAFT_ISA::register_quantize(table);
  graft::GRAFT_ISA::register_weight(table);
  for (int round = 0; round < rounds; round++) {
    const int64_t block = int64_t{32} << below(8);
    const int64_t in = round % 3 == 0 ? 1 + below(700) : round % 3 == 1 ? 32 * (1 + below(40)) : 64 * (1 + below(80));
    const int64_t out = 1 + below(round % 4 == 0 ? 200 : 40);
    const Weight weight(below(2) == 0 ? "nf4" : "fp4", out, in, block, DType(below(3)));
    testRows(weight);
    testPanels(weight);
    for (bool back : {false, true})
      for (DType dtype : {DType::f32, DType::bf16}) testProducts(weight, 1 + below(round % 5 == 0 ? 40 : 9), back, dtype);
  }
  // A row longer than there is room for scales, and one token of it.
  const Weight wide("nf4", 2, 70000, 32, DType::bf16), wideUnits("nf4", 2, 70016, 32, DType::bf16);
  for (const Weight* weight : {&wide, &wideUnits})
    for (DType dtype : {DType::f32, DType::bf16}) testProducts(*weight, 3, false, dtype);
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures > 0;
}
