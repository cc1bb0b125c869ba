#include "cores.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace graft {

#if defined(__linux__)
void keepToCore(int worker, int threads) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) != threads) return;
  for (int core = 0, seen = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || seen++ != worker) continue;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(core, &own);
    sched_setaffinity(0, sizeof own, &own);  // refused: slower, not wrong
    return;
  }
}
#else
void keepToCore(int, int) {}
#endif

}  // namespace graft
