// Rows that are learnt laid side by side, and their results brought back.
// graft-isa: scalar avx2 avx512 neon
//
//   learntOrder     order = tokens with targets[t] ≥ 0, then the others; ranks its inverse       all i32 [tokens]
//   takeRows        out[r] = x[index[from + r]]                 0 where the index is not below limit; out, x of one dtype
//   takeScaledRows  out[t] (+)= s[t] · x[index[t]]              likewise; out, x [rows, n], s f32 [rows], index i32 [rows]
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

static void learntOrder(const Call& call) {
  int32_t *order = call[0].as<int32_t>(), *ranks = call[1].as<int32_t>();
  const int32_t* targets = call[2].as<int32_t>();
  const int64_t tokens = call[2].size();
  int64_t learnt = 0;
  for (int64_t t = 0; t < tokens; t++) learnt += targets[t] >= 0;
  int64_t first = 0, second = learnt;
  for (int64_t t = 0; t < tokens; t++) {
    const int64_t rank = targets[t] >= 0 ? first++ : second++;
    order[rank] = int32_t(t);
    ranks[t] = int32_t(rank);
  }
}

static void takeRows(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const int64_t rows = out.rows(), n = out.columns(), limit = int64_t(call.params[1]);
  const int64_t bytes = n * bytesOf(out.dtype);
  const int32_t* index = call[2].as<int32_t>() + int64_t(call.params[0]);
  eachRow(call.pool, rows, n, [&](int64_t r) {
    char* to = out.as<char>() + r * bytes;
    if (index[r] >= 0 && index[r] < limit) std::memcpy(to, x.as<char>() + index[r] * bytes, size_t(bytes));
    else std::memset(to, 0, size_t(bytes));
  });
}

static void takeScaledRows(const Call& call) {
  const Operand &out = call[0], &x = call[1];
  const float* s = call[2].as<float>();
  const int32_t* index = call[3].as<int32_t>();
  const int64_t rows = out.rows(), n = out.columns(), limit = int64_t(call.params[0]);
  const bool accumulate = call.params[1] != 0;
  eachRow(call.pool, rows, n, [&](int64_t t) {
    const bool taken = index[t] >= 0 && index[t] < limit;
    if (!taken && accumulate) return;
    for (int64_t column = 0; column < n; column += kBlock) {
      const int64_t at = t * n + column, count = smaller(kBlock, n - column);
      Buffer outBuffer, xBuffer;
      float* to = target(out, at, count, outBuffer, accumulate);
      if (taken) {
        const float factor = s[t], *values = read(x, index[t] * n + column, count, xBuffer);
        mapInto(to, count, accumulate, [&](F32 value) { return value * factor; }, values);
      } else {
        std::memset(to, 0, size_t(count) * sizeof(float));
      }
      write(out, at, count, to);
    }
  });
}

void register_takenRows(Registry& registry) {
  registry.add("learntOrder", {}, learntOrder);
  registry.add("takeRows", {"from", "limit"}, takeRows);
  registry.add("takeScaledRows", {"limit", "accumulate"}, takeScaledRows);
}

}  // namespace GRAFT_ISA
}  // namespace graft
