/** What every queue promises: order, lifetimes, checks when enqueued, faults that stick, cancel, atomic groups, progress. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  add,
  addScaled,
  bytesOf,
  type DType,
  fill,
  gemm,
  type Kernel,
  MetaQueue,
  narrow,
  plainGemm,
  type Queue,
  Scope,
  sumSquares,
  type Tensor
} from "@graft/core"
import { type BackendUnderTest, hasDType, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertSame } from "./closeness.ts"
import { randomTensor, randomValues, tensorOf } from "./tensorOf.ts"

/** An op of the outside world that fails, a disk that is full. */
const failing: Kernel<null> = {
  name: "spill",
  outputs: 1,
  fields: [],
  reference: () => {
    throw new Error("no space left on device")
  }
}
/** out = the number of floats in its workspace, and fills the workspace. */
const scratch: Kernel<{ readonly floats: number }> = {
  name: "scratch",
  outputs: 1,
  fields: ["floats"],
  workspaceBytes: (_, { floats }) => 4 * floats,
  reference: ([out], { floats }, workspace) => {
    workspace.fill(7)
    out![0] = workspace.subarray(0, floats).reduce((sum, v) => sum + v, 0)
  }
}
/** Keeps a queue busy for a while: many ops that depend on each other. */
const occupy = (queue: Queue, t: Tensor, ops: number): void => {
  for (let i = 0; i < ops; i++) queue.enqueue(add, [t, t, t], { scale: -0.5 })
}
const failureOf = async (promise: Promise<unknown>): Promise<Error> => {
  try {
    await promise
  } catch (e) {
    assert.ok(e instanceof Error)
    return e
  }
  return assert.fail("nothing failed")
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Timers must go on while `work`, done so many times that it takes 150 ms, is awaited once. */
export const assertTicking = async (what: string, work: (times: number) => Promise<void>): Promise<void> => {
  for (let times = 1; ; times *= 2) {
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    const from = performance.now()
    await work(times)
    const ms = performance.now() - from
    clearInterval(timer)
    if (ms < 150) continue
    assert.ok(ticks >= ms / 50, `${what}: ${ticks} ticks of 5 ms in ${ms} ms`)
    return
  }
}

export const testQueue = (name: string, backend: BackendUnderTest): void => {
  const { limits } = backend
  const check = (title: string, body: (queue: Queue, scope: Scope) => Promise<void>): void => {
    test(`${name}: ${title}`, () => onDevice(backend, body))
  }

  check("ops run in order, and freed memory is used again in order", async (queue, scope) => {
    const a = randomTensor(scope, "a", [64], 1)
    const first = queue.read(a)
    const { offset } = a.cell!
    scope.free(a) // its read is still queued
    const b = randomTensor(scope, "b", [64], 2)
    assert.equal(b.cell!.offset, offset)
    const c = scope.tensor([64], "c")
    queue.enqueue(add, [c, b, b], { scale: 1 })
    queue.enqueue(fill, [b], { value: 3 })
    assertSame(await first, randomValues(64, 1), "the first tenant")
    assertSame(await queue.read(b), Array<number>(64).fill(3), "the second")
    assertSame(
      await queue.read(c),
      randomValues(64, 2).map((v) => 2 * v),
      "an op before the second was overwritten"
    )
  })
  check("a read gives what stood there when it was enqueued", async (queue, scope) => {
    const t = scope.tensor([5], "t")
    const reads: Array<Promise<Float32Array>> = []
    for (let value = 0; value < 200; value++) {
      queue.enqueue(fill, [t], { value })
      reads.push(queue.read(t))
    }
    for (const [value, read] of (await Promise.all(reads)).entries())
      assertSame(read, Array<number>(5).fill(value), `read ${value}`)
  })
  check("an upload copies when it is enqueued, and lands in order", async (queue, scope) => {
    const host = Float32Array.from([1, 2, 3])
    const t = tensorOf(scope, "t", [3], host)
    const raw = new Uint8Array(host.slice().buffer)
    queue.enqueue(add, [t, t, t], { scale: 1 })
    host.fill(99)
    const before = queue.read(t)
    queue.upload(t, () => raw)
    raw.fill(0)
    assertSame(await before, [2, 4, 6], "numbers changed after the upload")
    assertSame(await queue.read(t), [1, 2, 3], "bytes changed after the upload")
  })
  check("uploads and reads keep every dtype's bits", async (queue, scope) => {
    for (const dtype of Object.keys(bytesOf) as ReadonlyArray<DType>) {
      if (!hasDType(backend, dtype)) continue
      const values =
        dtype === "i32"
          ? [-(2 ** 31), 2 ** 31 - 1, 0, -1, 16_777_217]
          : dtype === "u8"
            ? [0, 255, 128, 7, 1]
            : dtype === "i8"
              ? [-128, 127, 0, -1, 5]
              : [0.1, -0, 1e-30, 65_504, Infinity]
      const t = tensorOf(scope, `t ${dtype}`, [5], values, dtype)
      assert.deepEqual([...(await queue.readBytes(t))], [...narrow(values, dtype)], dtype)
      const raw = Uint8Array.from({ length: 5 * bytesOf[dtype] }, (_, i) => (37 * i + 11) % 127) // no NaN
      queue.upload(t, () => raw)
      assert.deepEqual([...(await queue.readBytes(t))], [...raw], `${dtype} as bytes`)
    }
  })
  check(
    "a read into given memory fills it, as it was at this point of the program, and no more",
    async (queue, scope) => {
      const t = tensorOf(scope, "t", [5], [1, 2, 3, 4, 5])
      const memory = new Uint8Array(32).fill(7)
      const reading = queue.readBytes(t, memory.subarray(4, 16))
      queue.upload(t, () => [9, 9, 9, 9, 9])
      assert.equal((await reading).buffer, memory.buffer)
      assertSame(new Float32Array(memory.buffer, 4, 3), [1, 2, 3], "its first three")
      assert.deepEqual([...memory.subarray(0, 4), ...memory.subarray(16)], Array<number>(20).fill(7))
      await queue.readBytes(t, memory.subarray(4, 12)) // the same memory again
      assertSame(new Float32Array(memory.buffer, 4, 3), [9, 9, 3], "its first two")
      const small = new Uint8Array(4) // where a runtime may keep it with its objects
      const small2 = queue.readBytes(t, small)
      void small.buffer
      await small2
      assertSame(new Float32Array(small.buffer), [9], "into small memory")
    }
  )
  check("many uploads in a row", async (queue, scope) => {
    const tensors = Array.from({ length: 300 }, (_, i) => tensorOf(scope, `t${i}`, [1000], Array<number>(1000).fill(i)))
    for (const [i, t] of tensors.entries())
      if (i % 37 === 0) assertSame(await queue.read(t), Array<number>(1000).fill(i), `upload ${i}`)
  })

  check("shape, dead and unwritten tensors, and memory that is not there fail when enqueued", async (queue, scope) => {
    const a = randomTensor(scope, "a", [2, 3], 1)
    const blank = scope.tensor([4, 4], "blank")
    const y = scope.tensor([4, 4], "y")
    const sizes = { ...plainGemm, m: 4, k: 4, n: 4 }
    assert.throws(() => queue.enqueue(gemm, [y, a, blank], sizes), /^TypeError: gemm: .*do not fit.*a f32\[2,3\]/)
    assert.throws(() => queue.enqueue(gemm, [y, blank, blank], sizes), /^ReferenceError: gemm: blank is read before/)
    assert.throws(() => queue.enqueue(add, [y, blank, blank], { scale: 1 }), /read before/)
    const row = { width: 4, rows: 4, outRow: 0, xRow: 0, scale: 1, accumulate: true }
    const full = randomTensor(scope, "full", [4, 4], 2)
    assert.throws(() => queue.enqueue(addScaled, [y, full], row), /y is read before/, "accumulating into nothing")
    assert.throws(() => queue.upload(a, () => [1, 2]), /a f32\[2,3\] has 24 bytes, got 8/)
    scope.free(a)
    assert.throws(() => queue.enqueue(fill, [a], { value: 0 }), /a was freed/)
    assert.match((await failureOf(queue.read(a))).message, /a was freed/)
    assert.match((await failureOf(queue.read(blank))).message, /before anything was written/)
    assert.throws(() => scope.tensor([16 * MiB], "big"), /out of memory: weights wants/)
    assert.throws(() => scope.tensor([-1], "negative"), /is not a shape/)
    assertSame(await queue.read(full), randomValues(16, 2), "what was right still works")
  })
  check("operands of a dtype that a kernel does not take are refused, and too few of them", async (queue, scope) => {
    const [f, i] = [randomTensor(scope, "f", [4], 1), tensorOf(scope, "i", [4], [1, 2, 3, 4], "i32")]
    assert.throws(
      () => queue.enqueue(add, [f, i, f], { scale: 1 }),
      /^TypeError: add: operand 1 is not act; operands .* i i32\[4\]/
    )
    assert.throws(() => queue.enqueue(sumSquares, [f, i], { slot: 0 }), /sumSquares: operand 1 is not f32/)
    assert.throws(() => queue.enqueue(add, [f, f], { scale: 1 }), /add: operand 2 is not act/)
    queue.enqueue(fill, [i], { value: 7 })
    assertSame(await queue.read(i), [7, 7, 7, 7], "integers are filled")
  })
  check("muted ops take no memory and do nothing", async (queue, scope) => {
    const t = randomTensor(scope, "t", [4], 1)
    const before = queue.allocator.liveBytes
    const { submitted } = queue.progress
    const ghost = queue.mute(() => {
      const made = scope.tensor([4], "ghost")
      queue.enqueue(fill, [t], { value: 5 })
      queue.enqueue(add, [made, t, t], { scale: 1 })
      assert.throws(
        () => queue.enqueue(add, [made, t, randomTensor(scope, "other", [3], 1)], { scale: 1 }),
        /sizes differ/
      )
      return made
    })
    assert.equal(queue.allocator.liveBytes, before)
    assert.equal(queue.progress.submitted, submitted)
    assert.throws(
      () => queue.enqueue(fill, [ghost], { value: 1 }) ?? queue.enqueue(add, [t, ghost, t], { scale: 1 }),
      /was never computed/
    )
    assertSame(await queue.read(t), randomValues(4, 1), "a muted op wrote")
  })
  check("a kernel gets the workspace that it declares, and gives it back", async (queue, scope) => {
    const out = scope.tensor([1], "out")
    const before = queue.allocator.liveBytes
    const after = tensorOf(scope, "after", [64], Array<number>(64).fill(1))
    for (const floats of [1, 1000, 100_000]) {
      queue.enqueue(scratch, [out], { floats })
      assertSame(await queue.read(out), [7 * floats], `${floats} floats`)
      assert.ok((queue.allocator.peakByCategory.get("workspace") ?? 0) >= 4 * floats)
    }
    assert.equal(queue.allocator.live.get("workspace"), 0)
    assertSame(await queue.read(after), Array<number>(64).fill(1), "a neighbour of the workspace")
    scope.free(after)
    assert.equal(queue.allocator.liveBytes, before)
  })
  if (limits.views) {
    check("ranges of one buffer are operands", async (queue, scope) => {
      const flat = scope.tensor([20], "flat")
      queue.enqueue(fill, [flat], { value: 0 })
      const [a, b] = [flat.range(1, [3], "a"), flat.range(10, [3], "b")]
      queue.upload(a, () => [1, 2, 3])
      queue.enqueue(add, [b, a, a], { scale: 1 })
      assertSame(await queue.read(b), [2, 4, 6], "read of a range")
      assertSame(
        await queue.read(flat),
        [0, 1, 2, 3, ...Array<number>(6).fill(0), 2, 4, 6, ...Array<number>(7).fill(0)],
        "the whole"
      )
    })
  }

  test(`${name}: a fault sticks, later ops do nothing, and reads name the op`, async () => {
    const queue = await backend.open(Array<number>(limits.arenas).fill(MiB))
    const scope = new Scope(queue, "activations")
    const a = tensorOf(scope, "a", [4], [1, 2, 3, 4])
    const before = queue.read(a)
    queue.enqueue(failing, [a], null)
    queue.enqueue(fill, [a], { value: 9 })
    for (const failed of [queue.read(a), queue.idle(), queue.readBytes(a)]) {
      const e = await failureOf(failed)
      assert.match(e.message, /spill: no space left on device/)
      assert.equal("op" in e && e.op, "spill")
    }
    assertSame(await before, [1, 2, 3, 4], "a read before the fault")
    await pause(1)
    assert.match((await failureOf(queue.read(a))).message, /no space left/, "the fault sticks")
    scope[Symbol.dispose]()
    await queue.close()
  })
  /** Cancels with ever more work queued until `attempt` says that something was dropped: a device may be fast. */
  const untilDropped = async (attempt: (ops: number) => Promise<boolean>): Promise<void> => {
    for (let ops = 3000; ops < 200_000; ops *= 2) if (await attempt(ops)) return
    assert.fail("nothing was ever dropped")
  }
  check("cancel drops what has not begun, is no fault, and what comes later runs", async (queue, scope) => {
    const busy = randomTensor(scope, "busy", [100_000], 1)
    const t = tensorOf(scope, "t", [1], [1])
    await queue.idle()
    await untilDropped(async (ops) => {
      queue.enqueue(fill, [t], { value: 1 })
      await queue.idle()
      occupy(queue, busy, ops)
      queue.enqueue(fill, [t], { value: 2 })
      const read = queue.read(t)
      const idle = queue.idle()
      queue.cancel()
      const [outcome] = await Promise.allSettled([read, idle]) // dropped or not, idle does not wait for ever
      if (outcome.status === "rejected") assert.match(String(outcome.reason), /cancelled/)
      const dropped = outcome.status === "rejected"
      assertSame(await queue.read(t), [dropped ? 1 : 2], "what was dropped did not happen")
      return dropped
    })
    queue.enqueue(fill, [t], { value: 5 })
    assertSame(await queue.read(t), [5], "a later op")
    queue.cancel()
    await queue.idle()
    assertSame(await queue.read(t), [5], "nothing was queued")
  })
  check("cancel never cuts an atomic group", async (queue, scope) => {
    const [a, b, busy] = [scope.tensor([1], "a"), scope.tensor([1], "b"), randomTensor(scope, "busy", [100_000], 1)]
    const groups = 2000
    for (const t of [a, b]) queue.enqueue(fill, [t], { value: 0 })
    await queue.idle()
    let cut = 0
    let [work, wait] = [1, 1]
    for (let round = 0; round < 16 && (round < 4 || cut === 0); round++) {
      for (const t of [a, b]) queue.enqueue(fill, [t], { value: 0 })
      await queue.idle() // or the cancel drops one of the two
      for (let value = 1; value <= groups; value++) {
        queue.atomic(() => {
          queue.enqueue(fill, [a], { value })
          occupy(queue, busy, work)
          queue.enqueue(fill, [b], { value })
        })
      }
      await pause(wait)
      queue.cancel()
      const [[x], [y]] = await Promise.all([queue.read(a), queue.read(b)])
      assert.equal(x, y, "a group was cut")
      if (x! > 0 && x! < groups) cut++
      else if (x === groups) work *= 2
      else wait *= 2
    }
    assert.ok(cut > 0, "no round was cancelled in its midst")
  })
  check("a group that is dropped rejects its reads; one that ran gives them", async (queue, scope) => {
    const busy = randomTensor(scope, "busy", [100_000], 1)
    const t = tensorOf(scope, "t", [1], [1])
    const group = (value: number): Promise<Float32Array> => {
      let read: Promise<Float32Array> | undefined
      queue.atomic(() => {
        queue.enqueue(fill, [t], { value })
        read = queue.read(t)
      })
      return read!
    }
    assertSame(await group(2), [2], "a group that ran")
    await untilDropped(async (ops) => {
      queue.enqueue(fill, [t], { value: 2 })
      await queue.idle()
      occupy(queue, busy, ops)
      const read = group(3)
      queue.cancel()
      const [outcome] = await Promise.allSettled([read])
      const dropped = outcome.status === "rejected"
      if (dropped) assert.match(String(outcome.reason), /cancelled/)
      assertSame(await queue.read(t), [dropped ? 2 : 3], "the group ran or not")
      return dropped
    })
  })

  check("progress counts every command once and ends where it was submitted", async (queue, scope) => {
    const start = queue.progress
    const t = randomTensor(scope, "t", [10], 1)
    occupy(queue, t, 50)
    queue.atomic(() => occupy(queue, t, 20))
    const { submitted } = queue.progress
    assert.ok(submitted >= start.submitted + 70, `${submitted} submitted after ${start.submitted}`)
    await queue.idle()
    const end = queue.progress
    assert.equal(end.completed, end.submitted)
    occupy(queue, t, 2000)
    queue.cancel()
    await queue.idle()
    const cancelled = queue.progress
    assert.equal(cancelled.completed, cancelled.submitted, "after a cancel")
  })
  check("idle waits for all that was enqueued", async (queue, scope) => {
    const t = randomTensor(scope, "t", [50_000], 1)
    occupy(queue, t, 100)
    const { submitted } = queue.progress
    await queue.idle()
    assert.ok(queue.progress.completed >= submitted)
  })
  check("timers tick while the queue works", async (queue, scope) => {
    const t = randomTensor(scope, "t", [200_000], 1)
    await queue.idle()
    await assertTicking(`${name}: ops`, async (times) => {
      occupy(queue, t, 100 * times)
      await queue.idle()
    })
  })
  test(`${name}: closing drains, and then nothing can be enqueued`, async () => {
    const queue = await backend.open(Array<number>(limits.arenas).fill(MiB))
    const scope = new Scope(queue, "activations")
    const t = randomTensor(scope, "t", [1000], 1)
    occupy(queue, t, 500)
    const read = queue.read(t)
    const closed = queue.close()
    assert.equal((await read).length, 1000)
    await closed
    assert.throws(() => queue.enqueue(fill, [t], { value: 1 }))
    await assert.rejects(queue.read(t))
    scope[Symbol.dispose]()
  })

  test(`${name}: 2,000 random allocations have the places that the plan gave them`, async () => {
    const play = (queue: Queue): ReadonlyArray<string> => {
      const scope = new Scope(queue, "activations")
      const live: Array<Tensor> = []
      const places: Array<string> = []
      for (let i = 0; i < 2000; i++) {
        const [grow, which] = randomValues(2, i) as unknown as readonly [number, number] // two were asked for
        if (grow > 0 || live.length === 0) {
          const category = i % 3 === 0 ? "gradients" : "activations"
          const t = scope.tensor([1 + Math.floor(500 * Math.abs(which))], `t${i}`, "f32", category)
          places.push(`${t.cell!.arena}:${t.cell!.offset}`)
          live.push(t)
        } else scope.free(live.splice(Math.floor(Math.abs(which) * live.length), 1)[0]!)
      }
      scope[Symbol.dispose]()
      assert.equal(queue.allocator.liveBytes, 0)
      return places
    }
    const meta = new MetaQueue(limits)
    const planned = play(meta)
    const queue = await backend.open(meta.plan.arenaBytes)
    assert.deepEqual(play(queue), planned)
    assert.deepEqual(queue.allocator.peaks, meta.plan.arenaBytes)
    await queue.close()
  })
}
