// graft-isa: scalar avx2 avx512 avx512bf16 neon neonbf16
//
// Panel sources of the formats in blocks of 256 numbers (formats256.h), each by its own name: value = scale * code + offset.

#include "blockSource.h"

namespace graft {
namespace GRAFT_ISA {

void register_blocks256(Registry& registry) {
  registry.addPanelSource("Q2_K", &source<Q2_K>);
  registry.addPanelSource("Q3_K", &source<Q3_K>);
  registry.addPanelSource("Q4_K", &source<Q4_K>);
  registry.addPanelSource("Q5_K", &source<Q5_K>);
  registry.addPanelSource("Q6_K", &source<Q6_K>);
  registry.addPanelSource("IQ4_XS", &source<IQ4_XS>);
}

}  // namespace GRAFT_ISA
}  // namespace graft
