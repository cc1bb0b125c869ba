// The dynamic maps of 8 bits (src/dynamicMap.ts says what they are), and the code of each of 65,536 values from -1 to 1; the
// compiler computes both. The signed map is for first moments, the unsigned one for second moments.
#pragma once

#include <graft/kernel.h>

namespace graft {
namespace GRAFT_ISA {

struct DynamicMap {
  float values[256];
  uint8_t codes[65536];
};
constexpr DynamicMap makeDynamicMap(bool isSigned) {
  DynamicMap map{};
  const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  int count = 0;
  map.values[count++] = 0.0f;
  map.values[count++] = 1.0f;
  for (int i = 0; i < 7; i++) {
    const int points = (1 << (isSigned ? i : i + 1)) + 1;
    const float start = 0.1f, step = (1.0f - start) / static_cast<float>(points - 1);
    // A product of two floats is exact in double: one rounding of the sum is a fused multiply-add, as torch.linspace has it.
    const auto at = [&](int j) {
      return j < points / 2 ? static_cast<float>(double{start} + double{step} * j)
                            : static_cast<float>(1.0 - double{step} * (points - j - 1));
    };
    for (int j = 0; j + 1 < points; j++) {
      const float value = powers[i] * ((at(j) + at(j + 1)) / 2.0f);
      map.values[count++] = value;
      if (isSigned) map.values[count++] = -value;
    }
  }
  for (int i = 1; i < 256; i++)
    for (int j = i; j > 0 && map.values[j] < map.values[j - 1]; j--) {
      const float other = map.values[j];
      map.values[j] = map.values[j - 1];
      map.values[j - 1] = other;
    }
  int code = 0;
  for (int i = 0; i < 65536; i++) {
    const float value = static_cast<float>(i) / 65535.0f * 2.0f - 1.0f;
    while (code < 255 && value > (map.values[code] + map.values[code + 1]) * 0.5f) code++;
    map.codes[i] = static_cast<uint8_t>(code);
  }
  return map;
}
/** By the number of a state. */
static constexpr DynamicMap dynamicMaps[2] = {makeDynamicMap(true), makeDynamicMap(false)};

}  // namespace GRAFT_ISA
}  // namespace graft
