// The gradient of an embedding table: rows of dy added where their token ids say.
// graft-isa: scalar avx2 avx512 neon
//
//   dw[ids[t]] += dy[t], in the order of the tokens         dw f32 [vocab, hidden], dy [tokens, hidden], ids i32 [tokens]
//   without accumulate dw is zeroed first
//
// A task owns some columns of dw and goes through all tokens, so that no two tasks add to one element and the order of
// the sum is that of the tokens for any number of threads.
#include <graft/block.h>

namespace graft {
namespace GRAFT_ISA {

constexpr int64_t kColumnsTogether = 128;

static void gatherGradient(const Call& call) {
  const Operand &dw = call[0], &dy = call[1];
  const int32_t* ids = call[2].as<int32_t>();
  const int64_t tokens = call[2].size(), vocab = dw.rows(), hidden = dw.columns();
  float* table = dw.as<float>();
  if (call.params[0] == 0) {
    eachBlock(call.pool, dw.size(), [&](int64_t from, int64_t count) {
      std::memset(table + from, 0, size_t(count) * sizeof(float));
    });
  }
  call.pool.parallel(ceilDiv(hidden, kColumnsTogether), [&](int64_t task, int) {
    const int64_t column = task * kColumnsTogether, count = smaller(kColumnsTogether, hidden - column);
    for (int64_t t = 0; t < tokens; t++) {
      const int64_t id = ids[t];
      if (id < 0 || id >= vocab) continue;  // names no row: ids come from the device and were not checked
      Buffer buffer;
      const float* d = read(dy, t * hidden + column, count, buffer);
      mapInto(table + id * hidden + column, count, true, [](F32 value) { return value; }, d);
    }
  });
}

void register_embedding(Registry& registry) { registry.add("gatherGradient", {"accumulate"}, gatherGradient); }

}  // namespace GRAFT_ISA
}  // namespace graft
