// Columns of rows: a bias on each, their sums, a range of them.
// graft-isa: scalar avx2 avx512 neon
//
//   addColumns   y[t] = x[t] + b                                  y, x [rows, n], b [n]; y may be x
//   columnSums   out (+)= Σ_t x[t]                                out f32 [n], x [rows, n]
//   columns      out[t, outColumn + i] (+)= x[t, xColumn + i]     i < width; out [rows, outWidth], x [rows, xWidth]
//
// A block of columns is summed by one thread, row after row: the same bits for any number of threads.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

static void addColumns(const Call& call) {
  const Operand &y = call[0], &x = call[1], &b = call[2];
  const int64_t n = b.size(), rows = n > 0 ? x.size() / n : 0;
  eachRow(call.pool, rows, n, [&](int64_t row) {
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t from = row * n + column, count = smaller(kBlock, n - column);
      Buffer yBuffer, xBuffer, bBuffer;
      const float *values = read(x, from, count, xBuffer), *bias = read(b, column, count, bBuffer);
      float* to = target(y, from, count, yBuffer, false);
      map(to, count, [](F32 value, F32 more) { return value + more; }, values, bias);
      write(y, from, count, to);
    }
  });
}

static void columnSums(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const bool accumulate = call.params[0] != 0;
  const int64_t n = out.size(), rows = n > 0 ? x.size() / n : 0;
  constexpr int64_t kColumns = 64;
  call.pool.parallel(ceilDiv(n, kColumns), [&](int64_t task, int) {
    const int64_t column = task * kColumns, count = smaller(kColumns, n - column);
    float* to = out.as<float>() + column;
    Buffer sums, buffer;
    map(sums.data, count, []() { return splat(0); });
    for (int64_t row = 0; row < rows; row++)
      mapInto(sums.data, count, true, [](F32 value) { return value; }, read(x, row * n + column, count, buffer));
    mapInto(to, count, accumulate, [](F32 sum) { return sum; }, sums.data);
  });
}

static void columns(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const int64_t width = int64_t(call.params[0]), outWidth = int64_t(call.params[1]), outColumn = int64_t(call.params[2]);
  const int64_t xWidth = int64_t(call.params[3]), xColumn = int64_t(call.params[4]);
  const bool accumulate = call.params[5] != 0;
  eachRow(call.pool, xWidth > 0 ? x.size() / xWidth : 0, width, [&](int64_t row) {
    for (int64_t column = 0; column < width; column += kBlock) {
      const int64_t count = smaller(kBlock, width - column), at = row * outWidth + outColumn + column;
      Buffer outBuffer, xBuffer;
      const float* values = read(x, row * xWidth + xColumn + column, count, xBuffer);
      float* to = target(out, at, count, outBuffer, accumulate);
      mapInto(to, count, accumulate, [](F32 value) { return value; }, values);
      write(out, at, count, to);
    }
  });
}

void register_columns(Registry& registry) {
  registry.add("addColumns", {}, addColumns);
  registry.add("columnSums", {"accumulate"}, columnSums);
  registry.add("columns", {"width", "outWidth", "outColumn", "xWidth", "xColumn", "accumulate"}, columns);
}

}  // namespace GRAFT_ISA
}  // namespace graft
