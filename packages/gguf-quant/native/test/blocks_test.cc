// Every panel source of an instruction set against the scalar one's rows: random blocks, odd parts of rows, panels of several
// widths in both directions, f32 and bf16 bit for bit, products of 1 to 4 tokens within rounding. Built by the Makefile beside.

#include <graft/panel.h>
#include <graft/simd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace graft {
namespace scalar {
void register_blocks32(Registry& registry);
void register_blocks256(Registry& registry);
}  // namespace scalar
namespace GRAFT_ISA {
void register_blocks32(Registry& registry);
void register_blocks256(Registry& registry);
}  // namespace GRAFT_ISA
}  // namespace graft

namespace {

using Sources = std::map<std::string, const graft_panel_source*>;

void take(void* self, const char* name, const graft_panel_source* source) { (*static_cast<Sources*>(self))[name] = source; }

std::mt19937 random_(7);
int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

struct Format {
  int elements, bytes;
  std::vector<int> halves;
};
const std::map<std::string, Format> formats = {
    {"Q8_0", {32, 34, {0}}},     {"Q4_0", {32, 18, {0}}},        {"Q4_1", {32, 20, {0, 2}}},    {"Q5_0", {32, 22, {0}}},
    {"Q5_1", {32, 24, {0, 2}}},  {"IQ4_NL", {32, 18, {0}}},      {"Q2_K", {256, 84, {80, 82}}}, {"Q3_K", {256, 110, {108}}},
    {"Q4_K", {256, 144, {0, 2}}}, {"Q5_K", {256, 176, {0, 2}}}, {"Q6_K", {256, 210, {208}}},   {"IQ4_XS", {256, 136, {0}}}};

int failures = 0;
void expect(bool good, const std::string& format, const char* what) {
  if (good) return;
  failures++;
  std::printf("%s: %s\n", format.c_str(), what);
}
uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
uint16_t bf16Of(float x) {
  const uint32_t bits = bitsOf(x);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/** Panels as panel.h describes them, element by element. */
template <class T, class At>
std::vector<T> panels(int64_t width, int64_t rows, int64_t cols, bool transposed, int64_t step, const At& at) {
  const int64_t outputs = transposed ? cols : rows, k = transposed ? rows : cols, elements = (k + step - 1) / step;
  std::vector<T> wanted(static_cast<size_t>((outputs + width - 1) / width * width * elements), T{0});
  for (int64_t o = 0; o < outputs; o++)
    for (int64_t p = 0; p < elements; p++)
      wanted[static_cast<size_t>((o / width * elements + p) * width + o % width)] = at(o, p, k);
  return wanted;
}

void check(const std::string& name, const Format& format, const graft_panel_source* source, const graft_panel_source* scalar) {
  const int64_t out = 37, in = format.elements == 32 ? 32 * 9 : 256 * 3, rowBytes = in / format.elements * format.bytes;
  // Exactly as long as the rows, so that asan sees a read past them.
  std::vector<uint8_t> blocks(static_cast<size_t>(out * rowBytes));
  for (auto& byte : blocks) byte = static_cast<uint8_t>(below(256));
  for (size_t block = 0; block < blocks.size(); block += static_cast<size_t>(format.bytes))
    for (int at : format.halves) {
      graft::GRAFT_ISA::F16 half;
      graft::GRAFT_ISA::narrow(static_cast<float>(below(2001) - 1000) / 64000.0f, &half);
      std::memcpy(&blocks[block + static_cast<size_t>(at)], &half.bits, 2);
    }
  graft_operand storage{blocks.data(), GRAFT_U8, 2, {out, rowBytes, 1, 1}};
  const graft_weight w{out, in, &storage, 1, nullptr};

  std::vector<float> all(static_cast<size_t>(out * in));
  for (int64_t r = 0; r < out; r++) scalar->row_f32(&w, &all[static_cast<size_t>(r * in)], r, 0, in);
  const auto value = [&](int64_t row, int64_t column) { return all[static_cast<size_t>(row * in + column)]; };

  for (int round = 0; round < 200; round++) {
    const int64_t row = below(static_cast<int>(out)), col0 = below(static_cast<int>(in)), cols = 1 + below(static_cast<int>(in - col0));
    std::vector<float> got(static_cast<size_t>(cols));
    std::vector<uint16_t> halves(static_cast<size_t>(cols));
    source->row_f32(&w, got.data(), row, col0, cols);
    source->row_bf16(&w, halves.data(), row, col0, cols);
    bool same = true;
    for (int64_t c = 0; c < cols; c++) {
      const size_t i = static_cast<size_t>(c);
      same = same && bitsOf(got[i]) == bitsOf(value(row, col0 + c)) && halves[i] == bf16Of(value(row, col0 + c));
    }
    expect(same, name, "part of a row");
    if (source->rows_f32 == nullptr) continue;
    const int64_t rows = 1 + below(static_cast<int>(out - row)), stride = (cols + 63) / 64 * 64;
    std::vector<float> several(static_cast<size_t>(rows * stride));
    std::vector<uint16_t> severalHalves(static_cast<size_t>(rows * stride));
    source->rows_f32(&w, several.data(), stride, row, rows, col0, cols);
    if (source->rows_bf16 != nullptr) source->rows_bf16(&w, severalHalves.data(), stride, row, rows, col0, cols);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < cols; c++) {
        const size_t i = static_cast<size_t>(r * stride + c);
        same = same && bitsOf(several[i]) == bitsOf(value(row + r, col0 + c)) &&
               (source->rows_bf16 == nullptr || severalHalves[i] == bf16Of(value(row + r, col0 + c)));
      }
    expect(same, name, "several rows");
  }

  for (int round = 0; round < 120; round++) {
    const bool transposed = round % 2 == 1;
    const int64_t width = graft::GRAFT_ISA::kLanes * (1 + below(3));
    const int64_t row0 = below(static_cast<int>(out)), rows = 1 + below(static_cast<int>(out - row0));
    const int64_t col0 = below(static_cast<int>(in)), cols = 1 + below(static_cast<int>(in - col0));
    const auto element = [&](int64_t o, int64_t p) {
      return transposed ? value(row0 + p, col0 + o) : value(row0 + o, col0 + p);
    };
    if (source->fill_f32 != nullptr) {
      const auto wanted = panels<float>(width, rows, cols, transposed, 1,
                                        [&](int64_t o, int64_t p, int64_t) { return element(o, p); });
      float* got = static_cast<float*>(std::aligned_alloc(64, (wanted.size() * 4 + 63) / 64 * 64 + 256));
      source->fill_f32(&w, got, width, row0, rows, col0, cols, transposed);
      expect(std::memcmp(got, wanted.data(), wanted.size() * 4) == 0, name, "panels of f32");
      std::free(got);
    }
    if (source->fill_bf16 != nullptr) {
      const auto wanted = panels<uint32_t>(width, rows, cols, transposed, 2, [&](int64_t o, int64_t p, int64_t k) {
        const uint32_t low = bf16Of(element(o, 2 * p)), high = 2 * p + 1 < k ? bf16Of(element(o, 2 * p + 1)) : 0;
        return low | high << 16;
      });
      uint32_t* got = static_cast<uint32_t*>(std::aligned_alloc(64, (wanted.size() * 4 + 63) / 64 * 64 + 256));
      source->fill_bf16(&w, got, width, row0, rows, col0, cols, transposed);
      expect(std::memcmp(got, wanted.data(), wanted.size() * 4) == 0, name, "panels of bf16");
      std::free(got);
    }
  }

  if (source->dot_f32 == nullptr) return;
  const int64_t xStride = (in + 63) / 64 * 64;
  float* x = static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(4 * xStride * 4)));
  for (int64_t i = 0; i < 4 * xStride; i++) x[i] = i % xStride < in ? static_cast<float>(below(2001) - 1000) / 1000.0f : 0.0f;
  std::vector<float> alone(static_cast<size_t>(4 * out));
  for (int64_t t = 0; t < 4; t++)
    for (int64_t r = 0; r < out; r++) source->dot_f32(&w, &alone[static_cast<size_t>(t * out + r)], out, x + t * xStride, xStride, 1, r, 1);
  for (int64_t tokens = 1; tokens <= 4; tokens++) {
    std::vector<float> y(static_cast<size_t>(tokens * out));
    source->dot_f32(&w, y.data(), out, x, xStride, tokens, 0, out);
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t r = 0; r < out; r++) {
        double sum = 0, size = 0;
        for (int64_t c = 0; c < in; c++) {
          sum += double{value(r, c)} * double{x[t * xStride + c]};
          size += std::fabs(double{value(r, c)} * double{x[t * xStride + c]});
        }
        const float got = y[static_cast<size_t>(t * out + r)];
        expect(std::fabs(got - sum) <= 1e-5 * size + 1e-30, name, "a product of few tokens");
        expect(bitsOf(got) == bitsOf(alone[static_cast<size_t>(t * out + r)]), name, "a product depends on its company");
      }
  }
  std::free(x);
}

}  // namespace

int main() {
  Sources own, scalar;
  graft::Registry ownTable{&own, nullptr, take}, scalarTable{&scalar, nullptr, take};
  graft::GRAFT_ISA::register_blocks32(ownTable);
  graft::GRAFT_ISA::register_blocks256(ownTable);
  graft::scalar::register_blocks32(scalarTable);
  graft::scalar::register_blocks256(scalarTable);
  for (const auto& [name, format] : formats) {
    expect(own.count(name) == 1, name, "is registered");
    check(name, format, own[name], scalar[name]);
  }
  std::printf("%zu formats, %d failures\n", own.size(), failures);
  return failures == 0 ? 0 : 1;
}
