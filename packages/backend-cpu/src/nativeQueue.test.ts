import assert from "node:assert/strict"
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { loadNative, type NativeFault } from "./native.ts"
import { compilePlugin } from "./testPlugin.ts"
import { TestQueue } from "./testQueue.ts"

loadNative().loadPlugin(compilePlugin("enginePlugin.cc"))

/** The error of a promise that must reject. */
const rejection = async (promise: Promise<unknown>): Promise<NativeFault> => {
  try {
    await promise
  } catch (error) {
    return error as NativeFault // reads reject with nothing else
  }
  throw new assert.AssertionError({ message: "the promise was kept" })
}

test("commands run in order, reads see their place in it", async () => {
  const queue = new TestQueue()
  const seen: Array<Promise<ReadonlyArray<number>>> = []
  for (let i = 1; i <= 500; i++) {
    queue.fill(i, 0, 4096)
    if (i % 50 === 0) seen.push(queue.floats(4 * 4095))
  }
  assert.deepEqual((await Promise.all(seen)).flat(), [50, 100, 150, 200, 250, 300, 350, 400, 450, 500])
  await queue.close()
})

test("fill writes f32, bf16 and i32, on every instruction set", async () => {
  for (const isa of loadNative().info().isas) {
    const queue = new TestQueue({ isa })
    queue.run("fill", { value: -1.5 }, queue.operand(0, 100_001))
    queue.run("fill", { value: 1.00390625 }, queue.operand(500_000, 3, "bf16")) // a tie: to the even 1.0
    queue.run("fill", { value: -7 }, queue.operand(600_000, 2, "i32"))
    assert.ok((await queue.floats(0, 100_001)).every((x) => x === -1.5))
    assert.deepEqual(await queue.floats(400_004), [0])
    const halves = new Uint16Array(await queue.native.read(queue.handle, 0, 500_000, 8))
    assert.deepEqual([...halves], [0x3f80, 0x3f80, 0x3f80, 0])
    assert.deepEqual(await queue.integers(600_000, 3), [-7, -7, 0])
    await queue.close()
  }
})

test("uploads are copied when enqueued and land in order", async () => {
  const queue = new TestQueue()
  const { native, handle } = queue
  const bytes = new Uint8Array(2 ** 20)
  bytes.fill(1)
  native.upload(handle, 0, 0, bytes) // nothing is queued: straight into the arena
  const first = native.read(handle, 0, 0, bytes.length)
  queue.slowAdd(30, 0)
  bytes.fill(2)
  native.upload(handle, 0, 0, bytes)
  assert.equal(native.progress(handle)[2], bytes.length)
  const second = native.read(handle, 0, 0, bytes.length)
  bytes.fill(3)
  assert.ok(new Uint8Array(await first).every((byte) => byte === 1))
  assert.ok(new Uint8Array(await second).every((byte) => byte === 2))
  assert.equal(native.progress(handle)[2], 0)
  await queue.close()
})

test("files are read into the arena in order", async () => {
  const folder = mkdtempSync(join(tmpdir(), "graft-file-"))
  const path = join(folder, "tensor.bin")
  const content = Uint8Array.from({ length: 10_000_019 }, (_, i) => (i * 31 + (i >> 8)) & 255)
  writeFileSync(path, content)
  const queue = new TestQueue({ arenas: [content.length + 5] })
  const { native, handle } = queue
  native.uploadFile(handle, 0, 5, path, 0, content.length)
  assert.deepEqual(Buffer.from(await native.read(handle, 0, 5, content.length)), Buffer.from(content))
  native.uploadFile(handle, 0, 0, path, 1000, 3)
  const before = native.read(handle, 0, 0, 4)
  await before
  writeFileSync(join(folder, "other.bin"), Uint8Array.of(9, 9, 9, 9))
  renameSync(join(folder, "other.bin"), path) // a new file under the old name
  native.uploadFile(handle, 0, 0, path, 1, 3)
  assert.deepEqual([...new Uint8Array(await before)].slice(0, 3), [...content.subarray(1000, 1003)])
  assert.deepEqual([...new Uint8Array(await native.read(handle, 0, 0, 3))], [9, 9, 9])
  native.uploadFile(handle, 0, 0, path, 2, 3)
  const fault = await rejection(native.read(handle, 0, 0, 3))
  assert.equal(fault.op, "uploadFile")
  assert.match(fault.message, /other|tensor\.bin: 3 bytes at 2 were wanted, but the file ends at 4/)
  await queue.close()
  const other = new TestQueue()
  rmSync(folder, { recursive: true })
  other.native.uploadFile(other.handle, 0, 0, path, 0, 3)
  assert.match((await rejection(other.floats())).message, /uploadFile: cannot .*tensor\.bin: No such file/)
  await other.close()
})

test("reads into memory that is given: only a Uint8Array, only what lies in the arena, nothing after a cancel", async () => {
  const queue = new TestQueue()
  const { native, handle } = queue
  queue.fill(1.5, 0, 4)
  const into = new Uint8Array(24)
  assert.equal(await native.readInto(handle, 0, 4, into.subarray(8, 16)), undefined)
  assert.deepEqual([...new Float32Array(into.buffer)], [0, 0, 1.5, 1.5, 0, 0])
  await native.readInto(handle, 0, 0, new Uint8Array(0))
  assert.throws(() => native.readInto(handle, 0, 2 ** 20 - 8, new Uint8Array(9)), /readInto|read: .*arena/)
  const floats = new Float32Array(2) as unknown as Uint8Array // what a caller without types may give
  assert.throws(() => native.readInto(handle, 0, 0, floats), /into.*Uint8Array/)
  queue.slowAdd(60, 10)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const dropped = rejection(native.readInto(handle, 0, 0, into))
  native.cancel(handle)
  assert.equal((await dropped).code, "GRAFT_CANCELLED")
  await queue.close()
})

test("poison makes NaN", async () => {
  const queue = new TestQueue()
  queue.fill(1, 0, 3)
  queue.native.poison(queue.handle, 0, 4, 4)
  assert.deepEqual(await queue.floats(0, 3), [1, Number.NaN, 1])
  await queue.close()
})

test("a fault sticks, names its op, and stops what comes later", async () => {
  const queue = new TestQueue()
  queue.fill(1)
  const before = queue.floats()
  queue.run("test.failing", {}, queue.operand(0, 1))
  queue.fill(2)
  const first = rejection(queue.floats())
  assert.deepEqual(await before, [1])
  const fault = await first
  assert.equal(fault.op, "test.failing")
  assert.equal(fault.code, "GRAFT_FAULT")
  assert.equal(fault.message, "test.failing: the disk is on fire")
  queue.native.cancel(queue.handle)
  assert.equal((await rejection(queue.floats())).op, "test.failing") // cancel heals nothing
  await queue.close()
})

test("cancel drops what has not begun, and is no fault", async () => {
  const queue = new TestQueue()
  queue.fill(1)
  await queue.floats()
  queue.slowAdd(60, 10) // begun
  await new Promise((resolve) => setTimeout(resolve, 20))
  queue.slowAdd(0, 100)
  const dropped = rejection(queue.floats())
  queue.native.cancel(queue.handle)
  queue.slowAdd(0, 1000)
  assert.deepEqual(await queue.floats(), [1011])
  const error = await dropped
  assert.equal(error.code, "GRAFT_CANCELLED")
  assert.equal(error.op, "cancel")
  const [submitted, completed] = queue.native.progress(queue.handle)
  assert.equal(completed, submitted)
  await queue.close()
})

test("an atomic group is dropped whole or runs whole", async () => {
  const queue = new TestQueue()
  const { native, handle } = queue
  const group = (value: number, idle: number): void => {
    native.atomicBegin(handle)
    queue.slowAdd(150, value)
    native.atomicBegin(handle)
    queue.slowAdd(0, value)
    native.atomicEnd(handle)
    for (let i = 0; i < idle; i++) queue.slowAdd(0, 0)
    queue.slowAdd(0, value, 4)
    native.atomicEnd(handle)
  }
  queue.fill(0, 0, 2)
  group(1, 5000) // more than one chunk of the ring
  await new Promise((resolve) => setTimeout(resolve, 20)) // the group has begun and sleeps
  group(10, 10)
  native.cancel(handle)
  group(100, 10)
  assert.deepEqual(await queue.floats(0, 2), [202, 101])
  assert.throws(() => native.atomicEnd(handle), /no group is open/)
  await queue.close()
})

test("a group begins only when it is whole", async () => {
  const queue = new TestQueue()
  queue.native.atomicBegin(queue.handle)
  queue.fill(1)
  const read = queue.floats()
  await new Promise((resolve) => setTimeout(resolve, 10))
  assert.deepEqual(queue.native.progress(queue.handle).slice(0, 2), [2, 0])
  queue.native.atomicEnd(queue.handle)
  assert.deepEqual(await read, [1])
  await queue.close()
})

test("host bodies run in order, between native ones", async () => {
  const log: Array<string> = []
  const queue = new TestQueue({
    onHost: (token, run) => {
      log.push(`${token} ${run}`)
      if (!run) return
      if (token === 3) throw new Error("no such file")
      const view = new Float32Array(queue.native.view(queue.handle, 0, 0, 4))
      const answer = (): void => {
        view[0] = (view[0] ?? 0) * 2 + token
        queue.native.hostDone(queue.handle, token)
      }
      if (token === 2) setTimeout(answer, 5)
      else answer()
    }
  })
  queue.fill(10)
  queue.host("double", 1, queue.operand(0, 1)) // 21
  queue.slowAdd(0, 1) // 22
  queue.host("double", 2, queue.operand(0, 1)) // 46
  queue.slowAdd(0, 4)
  assert.deepEqual(await queue.floats(), [50])
  assert.throws(() => queue.native.hostDone(queue.handle, 2), /no host body/)
  queue.host("spill", 3, queue.operand(0, 1))
  queue.host("double", 4, queue.operand(0, 1))
  const fault = await rejection(queue.floats())
  assert.equal(fault.op, "spill")
  assert.equal(fault.message, "spill: no such file")
  assert.deepEqual(log, ["1 true", "2 true", "3 true", "4 false"])
  await queue.close()
})

test("a host body that fails by hostDone is a fault", async () => {
  const queue = new TestQueue({ onHost: (token) => queue.native.hostDone(queue.handle, token, "disk full") })
  queue.host("spill", 1, queue.operand(0, 1))
  assert.equal((await rejection(queue.floats())).message, "spill: disk full")
  await queue.close()
})

test("many host bodies in a row do not starve reads", async () => {
  let ran = 0
  const queue = new TestQueue({
    onHost: (token) => {
      ran++
      queue.native.hostDone(queue.handle, token)
    }
  })
  for (let i = 0; i < 1000; i++) {
    queue.host("noop", i, queue.operand(0, 1))
    queue.slowAdd(0, 1)
  }
  assert.deepEqual(await queue.floats(), [1000])
  assert.equal(ran, 1000)
  await queue.close()
})

test("the pool hands out every index once, nested loops run inline, scratch is a worker's own", async () => {
  for (const threads of [1, 2, 3, 8]) {
    const queue = new TestQueue({ threads })
    const rounds = 300
    for (let i = 0; i < rounds; i++) queue.run("test.countIndices", {}, queue.operand(0, 1 + (i % 37), "i32"))
    const counts = await queue.integers(0, 37)
    assert.deepEqual(
      counts,
      Array.from(
        { length: 37 },
        (_, at) => 31 * Array.from({ length: rounds }, (_, i) => i % 37).filter((last) => last >= at).length
      ),
      `${threads} threads`
    )
    queue.run("test.scratchIsOwn", {}, queue.operand(4096, threads, "i32"))
    const own = await queue.integers(4096, threads)
    assert.ok(own.every((flag) => flag >= 0) && own.includes(1), `${own}`)
    await queue.close()
  }
})

test("two queues have their own order, memory and faults", async () => {
  const one = new TestQueue()
  const two = new TestQueue({ threads: 1 })
  one.slowAdd(80, 1)
  two.fill(5)
  const order: Array<string> = []
  const slow = one.floats().then((value) => {
    order.push("one")
    return value
  })
  const quick = two.floats().then((value) => {
    order.push("two")
    return value
  })
  assert.deepEqual(await Promise.all([slow, quick]), [[1], [5]])
  assert.deepEqual(order, ["two", "one"])
  one.run("test.failing", {}, one.operand(0, 1))
  await rejection(one.floats())
  assert.deepEqual(await two.floats(), [5])
  await Promise.all([one.close(), two.close()])
})

test("the flight recorder hashes outputs in order, equal for any number of threads", async () => {
  const flights = await Promise.all(
    [1, 2, 5].map(async (threads) => {
      const queue = new TestQueue({ threads, onHost: (token) => queue.native.hostDone(queue.handle, token) })
      queue.fill(9, 0, 8)
      queue.native.record(queue.handle, true)
      queue.fill(1, 0, 200_000)
      queue.host("hosted", 1, queue.operand(0, 200_000))
      queue.fill(1, 0, 199_999)
      queue.fill(2, 0, 200_000)
      queue.native.record(queue.handle, false)
      queue.fill(3)
      await queue.floats()
      const flight = queue.native.flight(queue.handle)
      assert.deepEqual(queue.native.flight(queue.handle), [])
      await queue.close()
      return flight
    })
  )
  const [first, ...others] = flights
  assert.ok(first !== undefined)
  for (const other of others) assert.deepEqual(other, first)
  assert.deepEqual(
    first.map(([op]) => op),
    ["fill", "hosted", "fill", "fill"]
  )
  const hashes = first.map(([, hash]) => hash)
  assert.ok(hashes.every((hash) => /^[0-9a-f]{16}$/.test(hash)))
  assert.equal(hashes[0], hashes[1]) // same bytes
  assert.equal(new Set(hashes).size, 3)
})

test("timers tick through a long op", async () => {
  const queue = new TestQueue()
  let ticks = 0
  const timer = setInterval(() => {
    ticks++
  }, 5)
  queue.slowAdd(200, 1)
  await queue.floats()
  clearInterval(timer)
  assert.ok(ticks >= 10, `${ticks} ticks in 200 ms`)
  await queue.close()
})

test("enqueueing is cheap", async () => {
  const queue = new TestQueue({ threads: 1 })
  const { native, handle } = queue
  const command = Float64Array.of(native.kernel("fill", ["value"]), 1, ...queue.operand(0, 16), -1, 0, 1, 7)
  const commands = 10_000
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 10; round++) {
    const start = performance.now()
    for (let i = 0; i < commands; i++) native.enqueue(handle, command, command.length)
    await queue.floats()
    best = Math.min(best, ((performance.now() - start) * 1e6) / commands)
  }
  assert.ok(best < 5000, `${best.toFixed(0)} ns a command`) // 0.2 to 0.5 µs on an idle machine
  await queue.close()
})
