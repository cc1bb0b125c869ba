import { readFileSync } from "node:fs"

/** The most memory this process has had in RAM, in bytes (Linux). */
export const peakMemory = (): number => {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))
  return found === null ? process.resourceUsage().maxRSS * 1024 : Number(found[1]) * 1024
}
