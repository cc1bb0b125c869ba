// graft-isa: scalar
// fill: out = value, for f32, bf16 and i32. The compiler's vectors of the baseline are wide enough: memory is the limit.
#include <graft/kernel.h>

namespace graft { namespace GRAFT_ISA {

/** Elements of one index: the same for any number of workers. */
static constexpr int64_t piece = int64_t{1} << 16;

/** To nearest, ties to even; NaN stays a NaN. */
static uint16_t toBf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class Element>
static void fillWith(const Call& call, Element value) {
  auto* out = call[0].as<Element>();
  const int64_t size = call[0].size();
  call.pool.parallel((size + piece - 1) / piece, [&](int64_t index, int) {
    const int64_t end = index * piece + piece < size ? index * piece + piece : size;
    for (int64_t i = index * piece; i < end; ++i) out[i] = value;
  });
}

/** out [any] f32 | bf16 | i32; params value */
static void fill(const Call& call) {
  const double value = call.params[0];
  switch (call[0].dtype) {
    case DType::f32: return fillWith(call, static_cast<float>(value));
    case DType::bf16: return fillWith(call, toBf16(static_cast<float>(value)));
    case DType::i32: return fillWith(call, static_cast<int32_t>(value));
    default: return call.fault("out must be f32, bf16 or i32");
  }
}

void register_fill(Registry& registry) { registry.add("fill", {"value"}, fill); }

} }
