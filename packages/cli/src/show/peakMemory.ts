import { readFileSync } from "node:fs"

/** The most memory this process has had in RAM, in bytes: VmHWM where /proc tells it, else what the runtime knows. */
export const peakMemory = (): number | undefined => {
  try {
    const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))
    if (found !== null) return Number(found[1]) * 1024
  } catch {
    // another system
  }
  try {
    return process.resourceUsage().maxRSS * 1024
  } catch {
    return undefined
  }
}
