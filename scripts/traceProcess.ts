/**
 * `bun scripts/traceProcess.ts PID OUT.csv`: memory and disk of a process while it lives, every two seconds, as Linux tells
 * them: resident bytes and their peak (/proc/PID/status), bytes that came from disks (/proc/PID/io).
 * `scripts/tracePlot.ts` draws it.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs"

const INTERVAL = 2000 // milliseconds

const [pid = "", out = ""] = process.argv.slice(2)
const field = (file: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/${file}`, "utf8"))?.[1])

const began = performance.now()
writeFileSync(out, "seconds,resident,peak,read\n")
const look = (): void => {
  try {
    const row = [
      ((performance.now() - began) / 1000).toFixed(1),
      1024 * field("status", "VmRSS"),
      1024 * field("status", "VmHWM"),
      field("io", "read_bytes")
    ]
    if (row.every((number) => !Number.isNaN(Number(number)))) appendFileSync(out, `${row.join(",")}\n`)
    setTimeout(look, INTERVAL)
  } catch {
    // it has ended
  }
}
look()
