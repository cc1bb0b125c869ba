// Detection of instruction sets. The compiler's __builtin_cpu_supports also asks the operating system whether it saves
// the wide registers.
#include "isa.h"

#include <cstdlib>
#include <string>

#include "failure.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace graft {

static constexpr std::string_view names[isaCount] = {"scalar", "avx2", "avx512", "avx512bf16", "neon", "neonbf16"};

std::string_view nameOf(Isa isa) { return names[static_cast<int>(isa)]; }

std::optional<Isa> isaNamed(std::string_view name) {
  for (int i = 0; i < isaCount; ++i) {
    if (names[i] == name) return static_cast<Isa>(i);
  }
  return std::nullopt;
}

std::optional<Isa> below(Isa isa) {
  switch (isa) {
    case Isa::avx512bf16: return Isa::avx512;
    case Isa::avx512: return Isa::avx2;
    case Isa::neonbf16: return Isa::neon;
    case Isa::avx2:
    case Isa::neon: return Isa::scalar;
    case Isa::scalar: break;
  }
  return std::nullopt;
}

#if defined(__x86_64__)
/** Half-precision conversions; Clang's __builtin_cpu_supports does not know them. */
static bool hasF16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool available(Isa isa) {
  switch (isa) {
    case Isa::scalar: return true;
#if defined(__x86_64__)
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && hasF16c();
    case Isa::avx512:
      return available(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    case Isa::avx512bf16: return available(Isa::avx512) && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
    case Isa::neon: return true;
    case Isa::neonbf16: {
#if defined(__linux__)
      constexpr unsigned long bf16 = 1ul << 14;  // HWCAP2_BF16
      return (getauxval(AT_HWCAP2) & bf16) != 0;
#elif defined(__APPLE__)
      int present = 0;
      size_t size = sizeof present;
      return sysctlbyname("hw.optional.arm.FEAT_BF16", &present, &size, nullptr, 0) == 0 && present != 0;
#endif
    }
#endif
    default: return false;
  }
}

std::vector<Isa> availableIsas() {
  std::vector<Isa> found;
  for (int i = 0; i < isaCount; ++i) {
    if (available(static_cast<Isa>(i))) found.push_back(static_cast<Isa>(i));
  }
  return found;
}

Isa requireIsa(std::string_view name, std::string_view asked) {
  const auto isa = isaNamed(name);
  if (isa && available(*isa)) return *isa;
  std::string choices;
  for (const Isa one : availableIsas()) choices += (choices.empty() ? "" : ", ") + std::string(nameOf(one));
  throw Failure(std::string(asked) + ": instruction set \"" + std::string(name) + "\" is " +
                (isa ? "not available on this machine" : "unknown") + "; choose one of " + choices);
}

Isa defaultIsa() {
  const char* wanted = std::getenv("GRAFT_ISA");
  if (wanted != nullptr && *wanted != 0) return requireIsa(wanted, "GRAFT_ISA");
  return availableIsas().back();
}

}  // namespace graft
