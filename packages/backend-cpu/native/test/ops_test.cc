// Runs the native tests of one instruction set: ops_test [golden/optimizers.safetensors]. Exit code 0 if all hold.
#include "harness.h"

#define GRAFT_FAMILIES(each) \
  each(elementwise) each(rmsNorm) each(rope) each(attention) each(attentionBackward) each(swiglu) each(geglu) each(dropout) \
  each(crossEntropy) each(takenRows) each(reduction) each(embedding) each(adamW) each(dora)

namespace graft {
namespace GRAFT_ISA {
#define GRAFT_DECLARE(name) void register_##name(Registry&);
GRAFT_FAMILIES(GRAFT_DECLARE)
}  // namespace GRAFT_ISA
}  // namespace graft

namespace test {
void testSimd();
void testRows();
void testAttention();
void testAdamW(const std::string& goldenPath);
}  // namespace test

#define GRAFT_TEXT(x) #x
#define GRAFT_NAME(x) GRAFT_TEXT(x)

int main(int argc, char** argv) {
#define GRAFT_REGISTER(name) graft::GRAFT_ISA::register_##name(test::registry);
  GRAFT_FAMILIES(GRAFT_REGISTER)
  std::printf("%s\n", GRAFT_NAME(GRAFT_ISA));
  test::testSimd();
  test::testRows();
  test::testAttention();
  test::testAdamW(argc > 1 ? argv[1] : "");
  std::printf("%d checks, %d failed\n", test::checks, test::failures);
  return test::failures > 0;
}
