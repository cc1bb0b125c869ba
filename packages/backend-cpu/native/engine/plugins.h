// Plug-ins: shared libraries that add to the kernel tables (include/graft/plugin.h).
#pragma once

#include <string>

namespace graft {

/** Loads the library at `path` and takes its registrations in; a second load of the same file does nothing. Throws. */
void loadPlugin(const std::string& path);

/** Tells the plug-ins that want to know: no command of the queue runs any more, its memory is still there. */
void tellQueueClosed(const void* queue);

}  // namespace graft
