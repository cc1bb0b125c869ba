// Fingerprints for the flight recorder: 64 bits that two runs, machines or runtimes can compare.
#pragma once

#include <graft/kernel.h>

namespace graft {

/** Of the operand's bytes, continuing `seed`. Equal for any number of workers and any instruction set. */
uint64_t contentHash(const Pool& pool, uint64_t seed, const Operand& operand);

}  // namespace graft
