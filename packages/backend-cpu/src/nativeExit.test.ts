// The process ends by itself, however the queue is left: in every runtime that is found here.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { nativePath } from "./native.ts"
import { compilePlugin } from "./testPlugin.ts"

const plugin = compilePlugin("enginePlugin.cc")
const runtimes = [["node"], ["bun"], ["deno", "run", "-A"]].filter(
  ([program = ""]) => spawnSync(program, ["--version"]).status === 0
)

const prelude = `
import { createRequire } from "node:module"
const native = createRequire(import.meta.url)(${JSON.stringify(nativePath())})
native.loadPlugin(${JSON.stringify(plugin)})
const open = (onHost) => native.open({ threads: 2, arenas: [4096], onHost })
const slow = (handle, ms) => {
  const command = Float64Array.of(native.kernel("test.slowAdd", ["ms", "value"]), 1, 0, 0, 0, 1, 1, 0, 0, 0, -1, 0, 2, ms, 1)
  native.enqueue(handle, command, command.length)
}
const host = (handle, token) => native.enqueueHost(handle, "host", token, 0, new Float64Array(2), 2)
`
/** [what is left behind, program, what it must print, the least and the most ms it may take] */
const programs: ReadonlyArray<readonly [name: string, source: string, output: string, least: number, most: number]> = [
  ["an idle queue", "open(); console.log('end')", "end", 0, 5000],
  ["a closed queue", "const q = open(); slow(q, 10); await native.close(q); console.log('closed')", "closed", 10, 5000],
  [
    "a running op that nobody awaits",
    "const q = open(); slow(q, 100); slow(q, 60000); console.log('end')",
    "end",
    0,
    5000
  ],
  [
    "a read under way",
    "const q = open(); slow(q, 200); native.read(q, 0, 0, 4).then((b) => console.log(new Float32Array(b)[0]))",
    "1",
    200,
    5000
  ],
  [
    "a close under way",
    "const q = open(); slow(q, 200); native.close(q).then(() => console.log('closed'))",
    "closed",
    200,
    5000
  ],
  [
    "a host body to come",
    "const q = open((t) => { console.log('host', t); native.hostDone(q, t) }); slow(q, 100); host(q, 7)",
    "host 7",
    100,
    5000
  ],
  [
    "process.exit amid everything",
    "const q = open(); slow(q, 100); slow(q, 60000); native.read(q, 0, 0, 4); setTimeout(() => { console.log('exit'); process.exit(0) }, 30)",
    "exit",
    30,
    5000
  ],
  [
    "process.exit within a host body",
    "const q = open(() => { console.log('exit'); process.exit(0) }); host(q, 1); slow(q, 60000)",
    "exit",
    0,
    5000
  ],
  [
    "a worker that ends with an op running",
    `
import { Worker, isMainThread } from "node:worker_threads"
if (isMainThread) new Worker(new URL(import.meta.url)).on("exit", () => { const q = open(); slow(q, 1); native.read(q, 0, 0, 4).then((b) => { console.log("main", new Float32Array(b)[0]) }) })
else { const q = open(); slow(q, 100); slow(q, 60000) }`,
    "main 1",
    0,
    8000
  ],
  [
    "a worker terminated while it awaits",
    `
import { Worker, isMainThread, parentPort } from "node:worker_threads"
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url))
  worker.on("message", () => { worker.terminate().then(() => { console.log("terminated") }) })
} else { const q = open(() => {}); slow(q, 100); host(q, 1); slow(q, 60000); native.read(q, 0, 0, 4).catch(() => {}); parentPort.postMessage("ready") }`,
    "terminated",
    0,
    8000
  ]
]

const folder = mkdtempSync(join(tmpdir(), "graft-exit-"))
for (const [program = "", ...args] of runtimes) {
  programs.forEach(([name, source, output, least, most], index) => {
    test(`${program} exits with ${name}`, () => {
      const path = join(folder, `${index}.mjs`)
      writeFileSync(path, prelude + source)
      const start = performance.now()
      const run = spawnSync(program, [...args, path], { encoding: "utf8", timeout: 20_000 })
      const ms = performance.now() - start
      assert.equal(run.signal, null, `ended by ${run.signal} after ${ms.toFixed(0)} ms: ${run.stderr}`)
      assert.equal(run.status, 0, run.stderr)
      assert.equal(run.stdout.trim(), output)
      assert.ok(ms >= least && ms < most, `took ${ms.toFixed(0)} ms`)
    })
  })
}

test("a runtime was found", () => {
  assert.ok(runtimes.length > 0)
})
