// graft-isa: scalar avx2 avx512 neon
//
// Double quantization of scales, as src/doubleQuant.ts says it: scales less their mean, in 8 bits by the signed dynamic map
// over blocks of 256; and the reader by which a quantiser's panel source gets them back,
//   scale[i] = map[code[i]] * nested[i / 256] + offset
// The mean is torch's (src/torchMean.ts), code by a table of 65,536 entries as bitsandbytes has it.

#include <graft/panel.h>
#include <graft/simd.h>

#include "dynamicMap.h"

namespace graft {
namespace GRAFT_ISA {

namespace {

constexpr int64_t nestedBlock = 256;

/** Sums of torch's cascade: four levels, so that rounding grows with the logarithm. */
template <int Width>
void rowSums(const float* x, int64_t rows, float (&total)[Width]) {
  constexpr int levels = 4;
  float sums[levels][Width] = {};
  int logarithm = 1;
  while ((int64_t{1} << logarithm) < rows) logarithm++;
  const int power = larger(4, logarithm / levels);
  const int64_t step = int64_t{1} << power;
  int64_t row = 0;
  const auto add = [&](float* to, const float* from) {
    for (int k = 0; k < Width; k++) to[k] += from[k];
  };
  while (row + step <= rows) {
    for (int64_t j = 0; j < step; j++, row++) add(sums[0], x + row * Width);
    for (int level = 1; level < levels; level++) {
      add(sums[level], sums[level - 1]);
      for (float& sum : sums[level - 1]) sum = 0;
      if ((row >> (level * power)) % step != 0) break;
    }
  }
  for (; row < rows; row++) add(sums[0], x + row * Width);
  for (int level = 1; level < levels; level++) add(sums[0], sums[level]);
  for (int k = 0; k < Width; k++) total[k] = sums[0][k];
}
/** lanes[Lanes]: sums of `count` vectors, four at a time. */
template <int Lanes>
void laneSums(const float* x, int64_t count, float (&lanes)[Lanes]) {
  constexpr int together = 4;
  float parts[together * Lanes];
  const int64_t rows = count / together;
  rowSums(x, rows, parts);
  for (int64_t i = rows * together; i < count; i++)
    for (int k = 0; k < Lanes; k++) parts[k] += x[i * Lanes + k];
  for (int part = 1; part < together; part++)
    for (int k = 0; k < Lanes; k++) parts[k] += parts[part * Lanes + k];
  for (int k = 0; k < Lanes; k++) lanes[k] = parts[k];
}
float torchMean(const float* x, int64_t n) {
  constexpr int lanes = 8;
  if (n < lanes) {
    float sum[1];
    laneSums(x, n, sum);
    return sum[0] / static_cast<float>(n);
  }
  float sums[lanes], sum = 0;
  laneSums(x, n / lanes, sums);
  for (int64_t i = n / lanes * lanes; i < n; i++) sum += x[i];
  for (const float lane : sums) sum += lane;
  return sum / static_cast<float>(n);
}

/** codes u8 [n], nested f32 [ceil(n / 256)], offset f32 [1] from scales f32 [n]. */
void quantize(const Call& call) {
  auto* codes = call[0].as<uint8_t>();
  auto* nested = call[1].as<float>();
  const auto* scales = call[3].as<const float>();
  const int64_t n = call[3].size();
  const float mean = torchMean(scales, n);
  *call[2].as<float>() = mean;
  constexpr int64_t blocksOfTask = 64;
  call.pool.parallel(ceilDiv(n, blocksOfTask * nestedBlock), [&](int64_t task, int) {
    const int64_t last = smaller(n, (task + 1) * blocksOfTask * nestedBlock);
    for (int64_t start = task * blocksOfTask * nestedBlock; start < last; start += nestedBlock) {
      const int64_t end = smaller(last, start + nestedBlock);
      float top = 0;
      for (int64_t i = start; i < end; i++) top = larger(top, __builtin_fabsf(scales[i] - mean));
      nested[start / nestedBlock] = top;
      const float reciprocal = 1.0f / top;
      for (int64_t i = start; i < end; i++) {
        const float scaled = larger(-1.0f, smaller(1.0f, (scales[i] - mean) * reciprocal));
        codes[i] = top == 0 ? 0 : codeTable.codes[static_cast<int32_t>((scaled + 1.0f) * 0.5f * 65535.0f + 0.5f)];
      }
    }
  });
}

int64_t countScales(const graft_operand* storage) {
  return storage->shape[0] * storage->shape[1] * storage->shape[2] * storage->shape[3];
}
/** dst[i] = map[code] * nested + offset for scales that share a nested one. */
GRAFT_INLINE void readRun(float* dst, const uint8_t* codes, int64_t count, float nested, float offset) {
  // The look-ups move words, so that vector units, which the caller keeps busy, have only the arithmetic to do; that waits
  // until the words have left the store queue.
#pragma GCC unroll 8
  for (int64_t i = 0; i < count; i++) {
    int32_t word;
    std::memcpy(&word, dynamicMap.values + codes[i], 4);
    asm("" : "+r"(word));  // or compilers gather, which is slower
    std::memcpy(dst + i, &word, 4);
  }
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dst + i, load(dst + i) * splat(nested) + splat(offset));
  for (; i < count; i++) dst[i] = dst[i] * nested + offset;
}
void readScales(const graft_operand* storage, float* dst, int64_t first, int64_t count, int64_t stride) {
  const auto* codes = static_cast<const uint8_t*>(storage[0].data);
  const auto* nested = static_cast<const float*>(storage[1].data);
  const float offset = *static_cast<const float*>(storage[2].data);
  if (stride != 1) {
    for (int64_t i = 0, at = first; i < count; i++, at += stride)
      dst[i] = dynamicMap.values[codes[at]] * nested[at / nestedBlock] + offset;
    return;
  }
  for (int64_t at = first, end = first + count; at < end;) {
    const int64_t block = at / nestedBlock, some = smaller(end, (block + 1) * nestedBlock) - at;
    readRun(dst, codes + at, some, nested[block], offset);
    dst += some, at += some;
  }
}
constexpr graft_scale_reader reader{sizeof(graft_scale_reader), 3, countScales, readScales};

}  // namespace

void register_doubleQuant(Registry& registry) {
  registry.add("doubleQuant.quantize", {}, quantize);
  registry.addScaleReader("double-quant", &reader);
}

}  // namespace GRAFT_ISA
}  // namespace graft
