// What this process may use of the machine: the container's share, not the hardware's whole.
#pragma once

#include <cstdint>
#include <string>

namespace graft {

/** Cores by affinity mask and cgroup quota (a part of a core counts as one), at least 1. */
int usableCores();
/** Physical memory or the tightest cgroup limit, in bytes. */
uint64_t usableMemoryBytes();
/** The processor's name, "unknown" where the system does not tell. */
std::string processorModel();
/** Processor time of the calling thread, in seconds: what it ran, not what it waited for a core. */
double threadSeconds();

}  // namespace graft
