// Blocks of operands as f32, whatever their dtype, and loops over them.
//
// An activation may be f32 or bf16, each operand for itself. A kernel works on blocks of up to kBlock elements that stay
// in the first-level cache: `read` hands out the memory itself where it is f32 and a widened copy where not, `target` and
// `write` do the same for what is written. So the arithmetic is written once, for f32.
#pragma once

#include <graft/exponential.h>

namespace graft {
namespace GRAFT_ISA {

constexpr int64_t kBlock = 512;
/** Elements that one task should have at least; less costs more in waking a thread than it saves. */
constexpr int64_t kGrain = 16384;

/** Where a block is widened to. The padding keeps buffers beside each other from lying a multiple of 4 KiB apart, which
 * caches and store queues take for one address. */
struct Buffer {
  alignas(64) float data[kBlock + 16];
  GRAFT_INLINE Buffer() {}  // not zeroed
};

template <class T>
[[maybe_unused]] static void widenAll(float* to, const T* from, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  for (; i < n; i++) to[i] = widen(from[i]);
}
template <class T>
[[maybe_unused]] static void narrowAll(T* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  for (; i < n; i++) narrow(from[i], to + i);
}

/** x[from … from + n) copied to f32. */
[[maybe_unused]] static void copyWidened(float* to, const Operand& x, int64_t from, int64_t n) {
  if (x.dtype == DType::bf16) widenAll(to, x.as<const BF16>() + from, n);
  else if (x.dtype == DType::f16) widenAll(to, x.as<const F16>() + from, n);
  else widenAll(to, x.as<const float>() + from, n);
}

/** x[from … from + n) as f32: the memory itself, or a copy in `buffer`. */
[[maybe_unused]] static const float* read(const Operand& x, int64_t from, int64_t n, Buffer& buffer) {
  if (x.dtype == DType::f32) return x.as<const float>() + from;
  copyWidened(buffer.data, x, from, n);
  return buffer.data;
}

/** The same where the buffer lives as long as the expression. */
GRAFT_INLINE const float* read(const Operand& x, int64_t from, int64_t n, Buffer&& buffer) { return read(x, from, n, buffer); }

/** Asks for x[from … from + n) to be brought to the second-level cache. */
GRAFT_INLINE void fetchRow(const Operand& x, int64_t from, int64_t n) {
  const char* begin = x.as<const char>() + from * bytesOf(x.dtype);
  for (int64_t i = 0; i < n * bytesOf(x.dtype); i += 64) __builtin_prefetch(begin + i, 0, 2);
}

/** Where to compute out[from … from + n); holds its present values if they are to be added to. */
[[maybe_unused]] static float* target(const Operand& out, int64_t from, int64_t n, Buffer& buffer, bool accumulate) {
  if (out.dtype == DType::f32) return out.as<float>() + from;
  if (accumulate) copyWidened(buffer.data, out, from, n);
  return buffer.data;
}

/** Stores f32 values to out[from … from + n), unless they already lie there. */
[[maybe_unused]] static void write(const Operand& out, int64_t from, int64_t n, const float* values) {
  if (out.dtype == DType::bf16) narrowAll(out.as<BF16>() + from, values, n);
  else if (out.dtype == DType::f16) narrowAll(out.as<F16>() + from, values, n);
  else if (values != out.as<float>() + from) narrowAll(out.as<float>() + from, values, n);
}

/** y[i] = f(x[i] …) for i < n, in f32. y may be one of the x. */
template <class Out, class Function, class... In>
GRAFT_INLINE void map(Out* y, int64_t n, Function f, const In*... x) {
  constexpr int together = 4;
  int64_t i = 0;
  for (; i + together * kLanes <= n; i += together * kLanes) {
    F32 values[together];
#pragma GCC unroll 4
    for (int v = 0; v < together; v++) values[v] = f(load(x + i + v * kLanes)...);
#pragma GCC unroll 4
    for (int v = 0; v < together; v++) store(y + i + v * kLanes, values[v]);
  }
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i)...));
  if (i < n) storePart(y + i, f(loadPart(x + i, n - i)...), n - i);
}

/** y[i] (+)= f(x[i] …) */
template <class Out, class Function, class... In>
GRAFT_INLINE void mapInto(Out* y, int64_t n, bool accumulate, Function f, const In*... x) {
  if (accumulate) map(y, n, [&](F32 present, auto... values) { return present + f(values...); }, y, x...);
  else map(y, n, f, x...);
}

/** Σ f(x[i] …), in kLanes · 4 partial sums that are added in a fixed order. */
template <class Function, class... In>
GRAFT_INLINE float mapSum(int64_t n, Function f, const In*... x) {
  F32 a = splat(0), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a += f(load(x + i)...);
    b += f(load(x + i + kLanes)...);
    c += f(load(x + i + 2 * kLanes)...);
    d += f(load(x + i + 3 * kLanes)...);
  }
  for (; i + kLanes <= n; i += kLanes) a += f(load(x + i)...);
  if (i < n) b += f(loadPart(x + i, n - i)...);
  return sum((a + b) + (c + d));
}

/** An operand from one of its elements on. */
struct Stretch {
  const Operand& of;
  int64_t at;
};
/** Whether all are bf16: then a vector is widened and rounded on its way from memory to memory. */
template <class... Stretches>
GRAFT_INLINE bool allBF16(const Stretches&... stretches) {
  return ((stretches.of.dtype == DType::bf16) && ...);
}

/** y[i] (+)= f(x[i] …) for i < n ≤ kBlock, y and x of any dtypes. y may be one of the x. */
template <class Function, class... In>
GRAFT_INLINE void mapStretch(const Stretch& y, int64_t n, bool accumulate, const Function& f, const In&... x) {
  if (allBF16(y, x...)) return mapInto(y.of.as<BF16>() + y.at, n, accumulate, f, (x.of.template as<const BF16>() + x.at)...);
  Buffer buffer;
  float* to = target(y.of, y.at, n, buffer, accumulate);
  mapInto(to, n, accumulate, f, read(x.of, x.at, n, Buffer())...);
  write(y.of, y.at, n, to);
}

/** visit(from, count) over [0, n) in blocks, in parallel. */
template <class Visit>
GRAFT_INLINE void eachBlock(const Pool& pool, int64_t n, const Visit& visit) {
  pool.parallel(ceilDiv(n, kGrain), [&](int64_t task, int) {
    const int64_t end = smaller(n, (task + 1) * kGrain);
    for (int64_t from = task * kGrain; from < end; from += kBlock) visit(from, smaller(kBlock, end - from));
  });
}

/** visit(row) over [0, rows) in parallel, as many rows a task as make a grain of `columns` elements each. */
template <class Visit>
GRAFT_INLINE void eachRow(const Pool& pool, int64_t rows, int64_t columns, const Visit& visit) {
  const int64_t together = larger<int64_t>(1, kGrain / larger<int64_t>(1, columns));
  pool.parallel(ceilDiv(rows, together), [&](int64_t task, int) {
    const int64_t end = smaller(rows, (task + 1) * together);
    for (int64_t row = task * together; row < end; row++) visit(row);
  });
}

}  // namespace GRAFT_ISA
}  // namespace graft
