import assert from "node:assert/strict"
import { test } from "node:test"
import { loadNative } from "./native.ts"
import { compilePlugin } from "./testPlugin.ts"
import { TestQueue } from "./testQueue.ts"

loadNative().loadPlugin(compilePlugin("enginePlugin.cc"))

test("close runs what is queued first", async () => {
  const queue = new TestQueue()
  const ran: Array<number> = []
  for (let i = 0; i < 20; i++) queue.slowAdd(2, 1)
  queue.native.read(queue.handle, 0, 0, 4).then((bytes) => {
    ran.push(...new Float32Array(bytes))
  })
  const closed = queue.close()
  assert.throws(() => queue.fill(1), /the queue is closed/)
  assert.throws(() => queue.close(), /the queue is closed/)
  await closed
  assert.deepEqual(ran, [20])
})

test("close answers host bodies and cancelled reads too", async () => {
  const queue = new TestQueue({
    onHost: (token, run) => {
      if (run) queue.native.hostDone(queue.handle, token)
    }
  })
  queue.host("noop", 1, queue.operand(0, 1))
  queue.slowAdd(30, 1)
  const read = assert.rejects(queue.floats(), { code: "GRAFT_CANCELLED" })
  queue.native.cancel(queue.handle)
  await queue.close()
  await read
})

test("views outlive the queue and see zeros", async () => {
  const queue = new TestQueue()
  queue.fill(3, 0, 4)
  await queue.floats()
  const view = new Float32Array(queue.native.view(queue.handle, 0, 0, 16))
  assert.deepEqual([...view], [3, 3, 3, 3])
  await queue.close()
  assert.deepEqual([...view], [0, 0, 0, 0])
})

test("close gives the memory back", async () => {
  const bytes = 256 * 2 ** 20
  const cycle = async (): Promise<void> => {
    const queue = new TestQueue({ arenas: [bytes] })
    queue.fill(1, 0, bytes / 4)
    await queue.floats()
    await queue.close()
  }
  await cycle()
  const before = process.memoryUsage.rss()
  for (let i = 0; i < 4; i++) await cycle()
  const grown = process.memoryUsage.rss() - before
  assert.ok(grown < bytes / 2, `${grown} bytes more after four queues of ${bytes}`)
})
