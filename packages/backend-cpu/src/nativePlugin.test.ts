import assert from "node:assert/strict"
import { test } from "node:test"
import { loadNative, nativePath } from "./native.ts"
import { compilePlugin } from "./testPlugin.ts"
import { TestQueue } from "./testQueue.ts"

const native = loadNative()

test("a plug-in in C brings a kernel; loading it again does nothing", async () => {
  const path = compilePlugin("plainPlugin.c")
  native.loadPlugin(path)
  native.loadPlugin(path)
  const queue = new TestQueue()
  queue.fill(3, 0, 100)
  queue.run("plain.scale", { factor: 4 }, queue.operand(0, 99))
  assert.deepEqual((await queue.floats(0, 100)).slice(97), [12, 12, 3])
  await queue.close()
})

test("a codec's panel source reaches the bodies that are written for any codec", async () => {
  native.loadPlugin(compilePlugin("enginePlugin.cc"))
  assert.equal(native.kernel("otherCodec.testAnswer", ["unused"]), -1)
  assert.throws(() => native.kernel("testCodec.testAnswer", []), /testCodec\.testAnswer/)
  const queue = new TestQueue()
  queue.run("testCodec.testAnswer", { unused: 0 }, queue.operand(0, 2))
  assert.deepEqual(await queue.floats(0, 2), [42, 0])
  const kernel = native.kernel("testCodec.testAnswer", ["unused"])
  const command = Float64Array.of(kernel, 1, ...queue.operand(8, 2), 0, 64, 1, 0) // with a workspace at byte 64
  native.enqueue(queue.handle, command, command.length)
  assert.deepEqual(await queue.floats(8, 2), [42, 1])
  await queue.close()
})

test("what does not load says why, and leaves nothing behind", () => {
  const none = "/no/such/plugin.so"
  assert.throws(() => native.loadPlugin(none), /plug-in \/no\/such\/plugin\.so does not load/)
  assert.throws(() => native.loadPlugin(nativePath()), /exports no graft_register/)
  assert.throws(() => native.loadPlugin(compilePlugin("plainPlugin.c", "REFUSE")), /refuses: refused on purpose/)
  assert.throws(
    () => native.loadPlugin(compilePlugin("plainPlugin.c", "TAKEN")),
    /kernel (fill|plain\.scale) is already registered/
  )
})
