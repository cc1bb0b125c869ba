// Limits of Linux control groups, version 1 and 2: /proc/self/cgroup names this process's group in each hierarchy, and
// every group on the way up to the root limits it. A container that sees its own namespace finds its files at the root.
#include "machine.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace graft {

static std::optional<std::string> firstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

/** A non-negative number; "max" and -1 (no limit) are none. */
static std::optional<double> limitIn(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || value < 0) return std::nullopt;
  return value;
}

/** Calls `look` with the folder of each group that limits this process under `controller`; version 2 has "" for all. */
static void forEachGroup(const std::string& controller, const std::function<void(const std::string& folder)>& look) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // id:controller,controller:/path
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool named = controllers.empty() ? controller.empty()
                                           : !controller.empty() && ("," + controllers + ",").find("," + controller + ",") != std::string::npos;
    if (!named) continue;
    std::vector<std::string> roots;
    if (controllers.empty()) {
      roots = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    } else {
      roots = {"/sys/fs/cgroup/" + controllers, "/sys/fs/cgroup/" + controller};
    }
    for (const auto& root : roots) {
      for (std::string at = path == "/" ? "" : path;; at.resize(at.rfind('/'))) {
        look(root + at);
        if (at.empty() || at.rfind('/') == std::string::npos) break;
      }
    }
  }
}

static void tighten(std::optional<double>& limit, std::optional<double> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

static std::optional<double> groupCores() {
  std::optional<double> cores;
  forEachGroup("", [&](const std::string& folder) {  // "quota period" or "max period", in µs
    const auto line = firstLine(folder + "/cpu.max");
    if (!line) return;
    std::istringstream words(*line);
    std::string quota, period;
    words >> quota >> period;
    const auto allowed = limitIn(quota), every = limitIn(period);
    if (allowed && every && *every > 0) tighten(cores, *allowed / *every);
  });
  forEachGroup("cpu", [&](const std::string& folder) {
    const auto quota = firstLine(folder + "/cpu.cfs_quota_us"), period = firstLine(folder + "/cpu.cfs_period_us");
    if (!quota || !period) return;
    const auto allowed = limitIn(*quota), every = limitIn(*period);
    if (allowed && every && *every > 0) tighten(cores, *allowed / *every);
  });
  return cores;
}

static std::optional<double> groupMemory() {
  std::optional<double> bytes;
  forEachGroup("", [&](const std::string& folder) {
    if (const auto line = firstLine(folder + "/memory.max")) tighten(bytes, limitIn(*line));
  });
  forEachGroup("memory", [&](const std::string& folder) {  // "no limit" is a number near 2^63 here
    if (const auto line = firstLine(folder + "/memory.limit_in_bytes")) tighten(bytes, limitIn(*line));
  });
  return bytes;
}

int usableCores() {
  int cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cores = std::min(cores, CPU_COUNT(&allowed));
#endif
  if (const auto quota = groupCores()) cores = std::min(cores, static_cast<int>(std::ceil(*quota)));
  return std::max(cores, 1);
}

uint64_t usableMemoryBytes() {
  const double physical = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return static_cast<uint64_t>(std::min(physical, groupMemory().value_or(physical)));
}

std::string processorModel() {
#if defined(__APPLE__)
  char name[256];
  size_t size = sizeof name;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(':');
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

double threadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace graft
