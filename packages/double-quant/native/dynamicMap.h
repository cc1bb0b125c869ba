// The signed dynamic map of 8 bits (bitsandbytes create_dynamic_map(True, 7, 8)), and the code of each of 65,536 values from
// -1 to 1, both as src/dynamicMap.ts and src/doubleQuant.ts compute them; here the compiler does.
#pragma once

#include <graft/kernel.h>

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

struct CodeTable {
  uint8_t codes[65536];
};
/** The count of midpoints below each value. */
constexpr CodeTable makeCodeTable() {
  CodeTable table{};
  int code = 0;
  for (int i = 0; i < 65536; i++) {
    const float value = static_cast<float>(i) / 65535.0f * 2.0f - 1.0f;
    while (code < 255 && value > (dynamicMap.values[code] + dynamicMap.values[code + 1]) * 0.5f) code++;
    table.codes[i] = static_cast<uint8_t>(code);
  }
  return table;
}
static constexpr CodeTable codeTable = makeCodeTable();

}  // namespace GRAFT_ISA
}  // namespace graft
