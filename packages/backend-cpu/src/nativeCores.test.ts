import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { setTimeout } from "node:timers/promises"
import { TestQueue } from "./testQueue.ts"

/** How many cores a thread may use, by its /proc/.../status. */
const coresOf = (status: string): number => {
  const words = /^Cpus_allowed:\s*(\S+)$/m.exec(status)![1]!.split(",")
  return words
    .join("")
    .replace(/[^0]/g, (digit) => Number.parseInt(digit, 16).toString(2))
    .replaceAll("0", "").length
}
/** Threads of this process that keep to one core. */
const keepingThreads = (): number =>
  readdirSync("/proc/self/task").filter((id) => coresOf(readFileSync(`/proc/self/task/${id}/status`, "utf8")) === 1)
    .length

test("workers that take all cores keep to one each; of more or fewer, none does", { timeout: 60_000 }, async () => {
  if (process.platform !== "linux") return
  const cores = coresOf(readFileSync("/proc/self/status", "utf8"))
  if (cores === 1) return // every thread keeps to it
  for (const threads of [cores, cores + 1]) {
    const before = keepingThreads()
    const queue = new TestQueue({ threads })
    queue.fill(1)
    assert.deepEqual(await queue.floats(), [1])
    const wanted = before + (threads === cores ? threads : 0)
    for (let waited = 0; keepingThreads() !== wanted && waited < 5000; waited += 10) await setTimeout(10)
    assert.equal(keepingThreads(), wanted)
    await queue.close()
  }
})
