/** The paged optimisers on the native backend: the suites, the reference's bits, and what goes wrong with a spill file. */
import assert from "node:assert/strict"
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import { CpuQueue, cpuLimits, loadNative } from "@graft/backend-cpu"
import { adamW, type MakeOptimizer, type Queue, ReferenceQueue, Scope } from "@graft/core"
import {
  type AdamOptions,
  adamRule,
  adamWRule,
  lionRule,
  pagedOptimizer,
  SpillFolder,
  type StateOptions,
  sgdRule
} from "@graft/paged-optim"
import { optimizerRun, pagedParameters, testOptimizer, testPaging } from "@graft/testing"

const folder = mkdtempSync(join(tmpdir(), "graft-spill-"))
const spill = new SpillFolder(folder)
after(() => {
  spill.close()
  assert.deepEqual(readdirSync(folder), [], "spill files are gone")
  rmSync(folder, { recursive: true })
})
const native = loadNative()
const limits = cpuLimits(native.info(), 2)
const openWith = (isa: string, threads: number) => (bytes: ReadonlyArray<number>) =>
  new CpuQueue(native, bytes, limits, { threads, isa })
const { isas } = native.info()

const group = { weightDecay: 0.1, groupFactors: { lora_B: 4 } }
const adam: AdamOptions = { ...group, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 }
const optimizers: Readonly<Record<string, (state: StateOptions) => MakeOptimizer>> = {
  AdamW: (state) => pagedOptimizer(adamWRule(adam), state),
  Adam: (state) => pagedOptimizer(adamRule({ ...adam, beta1: 0.3 }), state),
  Lion: (state) => pagedOptimizer(lionRule({ ...group, beta1: 0.9, beta2: 0.99 }), state),
  SGD: (state) => pagedOptimizer(sgdRule({ ...group, momentum: 0.9 }), state)
}
const eachState = [8, 32].flatMap((bits) =>
  [undefined, 8192].map(
    (residentBytes): StateOptions => ({
      bits: bits as 8 | 32, // both are
      min8BitSize: 4096,
      ...(residentBytes === undefined ? {} : { paging: { residentBytes, pageBytes: 4096, spill } })
    })
  )
)
const afterSteps = async (queue: Queue, make: MakeOptimizer) => {
  const run = optimizerRun(queue, new Scope(queue, "weights"), make, pagedParameters)
  for (let t = 1; t <= 5; t++) run.step(t, [0.25, 1, t, 1])
  const state: Array<Uint8Array> = []
  for (const piece of run.optimizer.pieces) state.push(await piece.read())
  const parameters = await run.read()
  await queue.close()
  return { parameters, state }
}
for (const [name, of] of Object.entries(optimizers)) {
  test(`${name}: the bits of the reference, by each instruction set, for any number of threads, paged or not`, async () => {
    for (const bits of [8, 32] as const) {
      const wanted = await afterSteps(new ReferenceQueue([2 ** 21]), of({ bits, min8BitSize: 4096 }))
      for (const state of eachState.filter((s) => s.bits === bits))
        for (const isa of isas)
          for (const threads of [1, 3])
            assert.deepEqual(
              await afterSteps(openWith(isa, threads)([2 ** 21]), of(state)),
              wanted,
              `${isa}, ${threads}`
            )
    }
  })
}
test("AdamW in 32 bits is core's, bit by bit, on both backends: what core's is measured by holds for it", async () => {
  for (const open of [() => new ReferenceQueue([2 ** 21]), ...isas.map((isa) => () => openWith(isa, 2)([2 ** 21]))]) {
    const [wanted, ...others] = await Promise.all(
      [adamW(adam), ...eachState.slice(2).map((state) => optimizers["AdamW"]!(state))].map((make) =>
        afterSteps(open(), make)
      )
    )
    for (const { parameters } of others) assert.deepEqual(parameters, wanted!.parameters)
  }
})
const best = { limits, open: openWith(isas.at(-1)!, 2) }
for (const state of eachState)
  testOptimizer("cpu", best, {
    name: `AdamW in ${state.bits} bits${state.paging === undefined ? "" : ", paged"}`,
    make: optimizers["AdamW"]!({
      ...state,
      min8BitSize: 0,
      ...(state.paging === undefined ? {} : { paging: { ...state.paging, residentBytes: 400, pageBytes: 400 } })
    }),
    decays: true
  })
testPaging("cpu", best, {
  name: "AdamW in 8 bits",
  make: (residentBytes, pageBytes) =>
    optimizers["AdamW"]!({
      bits: 8,
      min8BitSize: 4096,
      ...(residentBytes === undefined
        ? {}
        : { paging: { residentBytes, pageBytes: pageBytes ?? 4096 * Math.max(1, residentBytes >> 16), spill } })
    }),
  smallestPage: 2048
})
test("no kernel of theirs runs in JavaScript", async () => {
  const queue = openWith(isas.at(-1)!, 2)([2 ** 21])
  const run = optimizerRun(queue, new Scope(queue, "weights"), optimizers["AdamW"]!(eachState[1]!), pagedParameters)
  run.step(1, [1, 1, 1, 1])
  await run.optimizer.traffic!()
  assert.deepEqual(queue.hostKernels, [])
  await queue.close()
})
test("a queue that closes gives up its threads' file, in the middle of their work too", async () => {
  if (!existsSync("/proc/self/fd")) return
  const openFiles = () =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
      } catch {
        return false // the one that lists
      }
    }).length
  const before = openFiles()
  const queues = [1, 2, 3].map(() => best.open([2 ** 21]))
  for (const queue of queues) {
    const make = optimizers["AdamW"]!(eachState[3]!)
    const run = optimizerRun(queue, new Scope(queue, "weights"), make, pagedParameters)
    run.step(1, [1, 1, 1, 1])
    await queue.idle()
  }
  assert.equal(openFiles() - before, 6, "the folder's own, and that of the threads")
  await Promise.all(queues.map((queue) => queue.close()))
  assert.equal(openFiles() - before, 3)
})
test("a spill file that another has put in its place is refused before the first step", async () => {
  const make = optimizers["AdamW"]!(eachState[3]!)
  const before = new Set(readdirSync(folder))
  const queue = best.open([2 ** 21])
  // Held back until the file is another's.
  queue.upload(new Scope(queue, "weights").tensor([1], "first"), () => [0])
  queue.atomic(() => {
    optimizerRun(queue, new Scope(queue, "weights"), make, pagedParameters)
    for (const name of readdirSync(folder))
      if (!before.has(name))
        writeFileSync(join(folder, name), readFileSync(join(folder, [...before][0] ?? name)).fill(1, 0, 64))
  })
  await assert.rejects(queue.idle(), /paged-optim\.open: the spill file .* is not this run's/)
  await queue.close()
})
test("a spill file that is cut under a run is a fault that names it; the next run begins anew", async () => {
  const state = eachState[3]!
  const queue = best.open([2 ** 21])
  const run = optimizerRun(queue, new Scope(queue, "weights"), optimizers["AdamW"]!(state), pagedParameters)
  run.step(1, [1, 1, 1, 1])
  await queue.idle()
  for (const name of readdirSync(folder)) truncateSync(join(folder, name), 5000)
  run.step(2, [1, 1, 2, 1])
  run.step(3, [1, 1, 3, 1])
  await assert.rejects(queue.idle(), /paged-optim\.bring: reading page \d+ of the spill file: it was cut/)
  await queue.close()
  await afterSteps(best.open([2 ** 21]), optimizers["AdamW"]!(state))
})
