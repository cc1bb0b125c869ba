import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { loadNative, nativePath } from "./native.ts"
import { TestQueue } from "./testQueue.ts"

const native = loadNative()

test("the machine is described", () => {
  const info = native.info()
  assert.equal(info.isas[0], "scalar")
  assert.ok(info.isas.includes(info.isa))
  assert.ok(Number.isInteger(info.cores) && info.cores >= 1)
  assert.ok(info.memoryBytes > 2 ** 28 && info.model.length > 0)
})

test("kernels are found by name and fields", () => {
  const fill = native.kernel("fill", ["value"])
  assert.ok(fill >= 0)
  assert.equal(native.kernel("fill", ["value"]), fill)
  assert.equal(native.kernel("fill", ["value"], 1, "scalar"), fill)
  assert.equal(native.kernel("noSuchKernel", ["value"]), -1)
  assert.equal(native.kernel("noSuchCodec.apply", ["out"]), -1)
  assert.throws(() => native.kernel("fill", ["constant"]), /fill.*\[value\].*\[constant\]/)
  assert.throws(() => native.kernel("fill", []), TypeError)
})

test("an instruction set that is not there is an error", () => {
  assert.throws(() => native.open({ threads: 1, arenas: [], isa: "mmx" }), /"mmx" is unknown; choose one of scalar/)
  const missing = ["avx512bf16", "neonbf16"].find((isa) => !native.info().isas.includes(isa))
  assert.ok(missing !== undefined) // no machine has both
  assert.throws(() => native.open({ threads: 1, arenas: [], isa: missing }), /not available on this machine/)
})

test("GRAFT_ISA picks the table", () => {
  const program = `import("node:module").then((m) => console.log(m.createRequire("/")(${JSON.stringify(nativePath())}).info().isa))`
  const evaluate = "Deno" in globalThis ? "eval" : "-e"
  const ask = (isa: string) =>
    spawnSync(process.execPath, [evaluate, program], { encoding: "utf8", env: { ...process.env, GRAFT_ISA: isa } })
  assert.equal(ask("scalar").stdout.trim(), "scalar")
  assert.match(ask("sse9").stderr, /GRAFT_ISA: instruction set "sse9" is unknown/)
})

test("memory beyond the machine's is refused before it is touched", () => {
  const { memoryBytes } = native.info()
  assert.throws(
    () => native.open({ threads: 1, arenas: [memoryBytes / 2, memoryBytes / 2] }),
    /need \d+ bytes, but this process may use/
  )
})

test("wrong options and arguments throw", () => {
  assert.throws(() => native.open({ threads: 0, arenas: [] }), RangeError)
  assert.throws(() => native.open({ threads: 1.5, arenas: [] }), RangeError)
  assert.throws(() => native.open({ threads: 1, arenas: [-1] }), RangeError)
  assert.throws(() => native.read(99_999, 0, 0, 4), /no queue has this handle/)
  assert.throws(() => native.peak("f64.abacus", 1, 1), /choose one of f32.scalar/)
})

test("a command that does not fit its arena or kernel throws when enqueued", async () => {
  const queue = new TestQueue()
  const { native, handle } = queue
  const value = { value: 1 }
  assert.throws(
    () => queue.run("fill", value, queue.operand(0, 2 ** 18 + 1)),
    /fill: operand 0: 1048580 bytes at offset 0 of arena 0/
  )
  assert.throws(() => queue.run("fill", value, queue.operand(2 ** 20, 1)), RangeError)
  assert.throws(() => queue.run("fill", value, queue.operand(-4, 1)), RangeError)
  assert.throws(() => queue.run("fill", value, queue.operand(2, 1)), /not a multiple/)
  assert.throws(() => queue.run("fill", value, queue.operand(0, Number.NaN)), RangeError)
  assert.throws(() => queue.run("fill", value, queue.operand(0, 2 ** 60)), RangeError)
  assert.throws(() => queue.run("fill", value, [1, 0, 0, 1, 1, 0, 0, 0]), /arena 1 do not exist/)
  assert.throws(() => queue.run("fill", value, [0, 0, 6, 1, 1, 0, 0, 0]), /dtype code 6/)
  assert.throws(() => queue.run("fill", value, [0, 0, 0, 5, 1, 0, 0, 0]), /rank 5/)
  const command = Float64Array.of(native.kernel("fill", ["value"]), 1, ...queue.operand(0, 1), -1, 0, 1, 7)
  assert.throws(() => native.enqueue(handle, command, command.length - 1), /13 numbers, 14 are due/)
  assert.throws(() => native.enqueue(handle, command, command.length + 1), RangeError)
  assert.throws(() => native.enqueue(handle, command.fill(1e6, 0, 1), command.length), /no kernel number 1000000/)
  // what an untyped caller can do
  assert.throws(() => native.enqueue(handle, [1, 2] as unknown as Float64Array, 2), TypeError)
  assert.throws(() => native.upload(handle, 0, 2 ** 20 - 3, new Uint8Array(4)), RangeError)
  assert.throws(() => native.read(handle, 0, 0, 2 ** 40), RangeError)
  assert.throws(() => native.view(handle, 0, 1, 2 ** 20), RangeError)
  assert.deepEqual(native.progress(handle), [0, 0, 0])
  await queue.close()
  assert.throws(() => queue.fill(1), /the queue is closed/)
})

test("peaks and bandwidth are plausible", () => {
  for (const kind of native.info().peaks) {
    const rate = native.peak(kind, 1, 20)
    assert.ok(rate > 1e8 && rate < 1e13, `${kind}: ${rate}`)
  }
  const { read, copy } = native.bandwidth(1, 20)
  assert.ok(read > 1e7 && read < 1e13 && copy > 1e7 && copy < 1e13)
})
