// Instruction sets: their names, what this machine has, and which table stands in for a missing kernel.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace graft {

enum class Isa : int { scalar, avx2, avx512, avx512bf16, neon, neonbf16 };
inline constexpr int isaCount = 6;

std::string_view nameOf(Isa isa);
std::optional<Isa> isaNamed(std::string_view name);
/** The table to look in when this one lacks a kernel; scalar has none below it. */
std::optional<Isa> below(Isa isa);
/** Compiled into this library and present on this machine. */
bool available(Isa isa);
/** All that are available, scalar first, the best last. */
std::vector<Isa> availableIsas();
/** GRAFT_ISA if it is set, else the best; throws what is wrong with GRAFT_ISA. */
Isa defaultIsa();
/** The instruction set of that name; throws when it is unknown or this machine lacks it. `asked` says where it was asked for. */
Isa requireIsa(std::string_view name, std::string_view asked);

}  // namespace graft
