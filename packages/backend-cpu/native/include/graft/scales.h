// Scales of a quantised weight, read one at a time inside its panel source, whichever package stored them. A scale format is
// told by its storage tensors:
//   f32 [n]                                       the scales themselves
//   u8 [n], f32 [ceil(n / 256)], f32 [1]          map[code] * nested[i / 256] + offset, by the signed dynamic map of 8 bits
//                                                 (QLoRA, arXiv:2305.14314 section 3; bitsandbytes create_dynamic_map)
#pragma once

#include <graft/panel.h>

namespace graft {
namespace GRAFT_ISA {

struct DynamicMap {
  float values[256];
};
/** 0, 1, and for each of seven powers of ten the means of neighbours between 0.1 and 1, with both signs; sorted. */
constexpr DynamicMap makeDynamicMap() {
  DynamicMap map{};
  const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  int count = 0;
  map.values[count++] = 0.0f;
  map.values[count++] = 1.0f;
  for (int i = 0; i < 7; i++) {
    const int points = (1 << i) + 1;
    const float start = 0.1f, step = (1.0f - start) / static_cast<float>(points - 1);
    // A product of two floats is exact in double: one rounding of the sum is a fused multiply-add, as torch.linspace has it.
    const auto at = [&](int j) {
      return j < points / 2 ? static_cast<float>(double{start} + double{step} * j)
                            : static_cast<float>(1.0 - double{step} * (points - j - 1));
    };
    for (int j = 0; j + 1 < points; j++) {
      const float mean = (at(j) + at(j + 1)) / 2.0f;
      map.values[count++] = powers[i] * mean;
      map.values[count++] = -(powers[i] * mean);
    }
  }
  for (int i = 1; i < 256; i++)
    for (int j = i; j > 0 && map.values[j] < map.values[j - 1]; j--) {
      const float other = map.values[j];
      map.values[j] = map.values[j - 1];
      map.values[j - 1] = other;
    }
  return map;
}
static constexpr DynamicMap dynamicMap = makeDynamicMap();

struct Scales {
  const float* plain;  // null where they are coded
  const uint8_t* codes;
  const float* nested;
  float offset;
  int64_t count;

  GRAFT_INLINE float operator[](int64_t index) const {
    if (plain != nullptr) return plain[index];
    return dynamicMap.values[codes[index]] * nested[index / 256] + offset;
  }
};
/** The scales that a weight's storage has from tensor `first` on. */
GRAFT_INLINE Scales scalesOf(const graft_weight* w, int first) {
  const graft_operand& head = w->storage[first];
  const int64_t count = head.shape[0] * head.shape[1] * head.shape[2] * head.shape[3];
  if (head.dtype == GRAFT_F32) return {static_cast<const float*>(head.data), nullptr, nullptr, 0.0f, count};
  return {nullptr, static_cast<const uint8_t*>(head.data), static_cast<const float*>(w->storage[first + 1].data),
          *static_cast<const float*>(w->storage[first + 2].data), count};
}

}  // namespace GRAFT_ISA
}  // namespace graft
