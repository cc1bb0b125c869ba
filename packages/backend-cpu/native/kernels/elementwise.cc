// Sums and scalings, element by element or row by row.
// graft-isa: scalar avx2 avx512 neon
//
//   addScaled   out[outRow + t] (+)= scale · x[xRow + t]     `rows` rows of `width`; also the cast between f32 and bf16
//   add         out = a + scale · b                          out may be a or b
//   scaleRows   out[t] (+)= x[t] · s[t]                      out, x [rows, columns], s f32 [rows]
//   broadcast   dx (+)= scale · dy                           dy f32 [1]
//
// The formulas are the lambdas: `map` runs them a vector at a time, or one float at a time for the scalar set.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

static void addScaled(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const int64_t width = int64_t(call.params[0]), n = int64_t(call.params[1]) * width;
  const int64_t outAt = int64_t(call.params[2]) * width, xAt = int64_t(call.params[3]) * width;
  const float scale = float(call.params[4]);
  const bool accumulate = call.params[5] != 0;
  const bool copies = out.dtype == x.dtype && scale == 1 && !accumulate;
  eachBlock(call.pool, n, [&](int64_t from, int64_t count) {
    if (copies) {
      const int64_t bytes = bytesOf(x.dtype);
      std::memmove(out.as<char>() + (outAt + from) * bytes, x.as<char>() + (xAt + from) * bytes, size_t(count * bytes));
      return;
    }
    mapStretch({out, outAt + from}, count, accumulate, [&](F32 value) { return scale * value; }, Stretch{x, xAt + from});
  });
}

static void add(const Call& call) {
  const Operand &out = call[0], &a = call[1], &b = call[2];
  const float scale = float(call.params[0]);
  eachBlock(call.pool, out.size(), [&](int64_t from, int64_t count) {
    mapStretch({out, from}, count, false, [&](F32 l, F32 r) { return l + scale * r; }, Stretch{a, from}, Stretch{b, from});
  });
}

static void scaleRows(const Call& call) {
  const Operand &out = call[0], &x = call[1], &s = call[2];
  const bool accumulate = call.params[0] != 0;
  const int64_t rows = s.size(), columns = rows > 0 ? x.size() / rows : 0;
  eachRow(call.pool, rows, columns, [&](int64_t row) {
    const float factor = s.as<float>()[row];
    for (int64_t column = 0; column < columns; column += kBlock) {
      const int64_t from = row * columns + column, count = smaller(kBlock, columns - column);
      mapStretch({out, from}, count, accumulate, [&](F32 value) { return value * factor; }, Stretch{x, from});
    }
  });
}

static void broadcast(const Call& call) {
  const Operand& dx = call[0];
  const float value = float(call.params[0]) * call[1].as<float>()[0];
  const bool accumulate = call.params[1] != 0;
  eachBlock(call.pool, dx.size(), [&](int64_t from, int64_t count) {
    Buffer buffer;
    float* to = target(dx, from, count, buffer, accumulate);
    if (accumulate) map(to, count, [&](F32 present) { return present + value; }, to);
    else map(to, count, [&]() { return splat(value); });
    write(dx, from, count, to);
  });
}

void register_elementwise(Registry& registry) {
  registry.add("addScaled", {"width", "rows", "outRow", "xRow", "scale", "accumulate"}, addScaled);
  registry.add("add", {"scale"}, add);
  registry.add("scaleRows", {"accumulate"}, scaleRows);
  registry.add("broadcast", {"scale", "accumulate"}, broadcast);
}

}  // namespace GRAFT_ISA
}  // namespace graft
