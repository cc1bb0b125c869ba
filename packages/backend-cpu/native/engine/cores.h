// Which cores the workers run on.
#pragma once

namespace graft {

/**
 * Keeps the calling thread on a core of its own, the `worker`-th of those it may use, if `threads` workers take them all.
 * Systems wake a worker on the core of whoever woke it, behind a worker that does not sleep for milliseconds, while another
 * core is idle. Where cores are left over nothing is done: which of them others use, the system knows better.
 */
void keepToCore(int worker, int threads);

}  // namespace graft
