// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// Panel sources of the formats in blocks of 32 numbers (formats32.h), each by its own name: value = scale * code + offset.

#include "blockSource.h"

namespace graft {
namespace GRAFT_ISA {

void register_blocks32(Registry& registry) {
  registry.addPanelSource("Q8_0", &source<Q8_0>);
  registry.addPanelSource("Q4_0", &source<Q4_0>);
  registry.addPanelSource("Q4_1", &source<Q4_1>);
  registry.addPanelSource("Q5_0", &source<Q5_0>);
  registry.addPanelSource("Q5_1", &source<Q5_1>);
  registry.addPanelSource("IQ4_NL", &source<IQ4_NL>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
