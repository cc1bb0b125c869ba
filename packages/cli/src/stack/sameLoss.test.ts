/**
 * Rows prepared in any way give one loss and one gradient: any split into micro-batches, packed or not, from padded rows, in
 * any order. And no document sees another: change one, and the losses of the others are equal to the bit.
 */
import assert from "node:assert/strict"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import { CpuQueue, cpuLimits, loadNative, nativePath } from "@graft/backend-cpu"
import {
  addInto,
  assemble,
  collate,
  Graph,
  linearCrossEntropy,
  loadAtOnce,
  type MakeOptimizer,
  type MicroBatch,
  type Overrides,
  type Queue,
  ReferenceQueue,
  Scope
} from "@graft/core"
import { fusedLinearCrossEntropy, fusedLoraLinear } from "@graft/fused-kernels"
import { type PreparedData, prepareData } from "@graft/sft"
import { arenasOf, assertClose, MiB, runRecipe, toyLora, toyRecipe, toySizes } from "@graft/testing"
import { Effect } from "effect"
import fc from "fast-check"

const TIMEOUT = { timeout: 60_000 }
const folder = mkdtempSync(join(tmpdir(), "graft-same-loss-"))
after(() => rmSync(folder, { recursive: true }))

interface Engine {
  readonly name: string
  readonly limits: ReferenceQueue["limits"]
  readonly open: (bytes: ReadonlyArray<number>) => Queue
  readonly overrides: Overrides
  readonly runs: number
}
const native = existsSync(nativePath()) ? loadNative() : undefined
const reference: Engine = {
  name: "reference",
  limits: new ReferenceQueue([0]).limits,
  open: (bytes) => new ReferenceQueue(bytes),
  overrides: new Map(),
  runs: 2
}
const engines: ReadonlyArray<Engine> =
  native === undefined
    ? [reference]
    : [
        reference,
        {
          name: "cpu, fused",
          limits: cpuLimits(native.info(), 2),
          open: (bytes) =>
            new CpuQueue(native, bytes, cpuLimits(native.info(), 2), { threads: 2, isa: native.info().isa }),
          overrides: new Map([fusedLinearCrossEntropy, fusedLoraLinear].map((one) => [one.op, one])),
          runs: 10
        }
      ]

interface TokenRow {
  readonly input_ids: ReadonlyArray<number>
  readonly labels: ReadonlyArray<number>
}
const prepare = async <A>(
  rows: ReadonlyArray<object>,
  options: object,
  use: (data: PreparedData) => Promise<A> | A
): Promise<A> => {
  const data = join(folder, "rows.jsonl")
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  const model = { vocabularySize: toySizes.vocabulary, positions: 64 }
  return Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(prepareData({ data, shuffle: false, ...options }, model), (prepared) =>
        Effect.promise(async () => use(prepared))
      )
    )
  )
}

/** Puts the summed gradients where the parameters were. */
const exposing: MakeOptimizer = (queue, _, ranges) => ({
  pieces: [],
  update: () => {
    using g = new Graph(queue)
    for (const { flat, gradients } of ranges) addInto(g, flat, gradients)
  }
})
const gradientsOf = async (engine: Engine, micro: ReadonlyArray<MicroBatch>) => {
  const { overrides } = engine
  const { losses, parameters } = await runRecipe(engine, toyRecipe({ overrides, optimizer: exposing }), 1, micro)
  return { loss: losses[0]!, gradients: parameters }
}

const token = fc.integer({ min: 0, max: toySizes.vocabulary - 1 })
const row: fc.Arbitrary<TokenRow> = fc
  .array(fc.tuple(token, fc.boolean()), { minLength: 2, maxLength: 24 })
  .map((tokens) => ({
    input_ids: tokens.map(([id]) => id),
    // At least the last token is learnt, so that no row is left out.
    labels: tokens.map(([id, learnt], i) => (learnt || i === tokens.length - 1 ? id : -100))
  }))
const eight = fc.uniqueArray(row, { minLength: 8, maxLength: 8, selector: (one) => one.input_ids.join() })

/** As other trainers leave their batches: filled up to one length, the padding masked. */
const padded = (rows: ReadonlyArray<TokenRow>, left: boolean): ReadonlyArray<object> => {
  const longest = Math.max(...rows.map(({ input_ids }) => input_ids.length))
  return rows.map(({ input_ids, labels }) => {
    const filling = Array<number>(longest - input_ids.length)
    const fill = (values: ReadonlyArray<number>, by: number) =>
      left ? [...filling.fill(by), ...values] : [...values, ...filling.fill(by)]
    return {
      input_ids: fill(input_ids, 0),
      labels: fill(labels, -100),
      attention_mask: fill(
        input_ids.map(() => 1),
        0
      )
    }
  })
}

for (const engine of engines) {
  test(
    `${engine.name}: one loss and one gradient for batch 8, 4×2, 1×8, packed, padded, in any order`,
    TIMEOUT,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          eight,
          fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }),
          async (rows, order) => {
            const step = (given: ReadonlyArray<object>, options: object) =>
              prepare(given, options, async (data) => {
                assert.equal(data.stepsPerEpoch, 1)
                return gradientsOf(engine, data.batches(1))
              })
            const whole = await step(rows, { batchSize: 8 })
            const others: Readonly<Record<string, () => ReturnType<typeof step>>> = {
              "4×2": () => step(rows, { batchSize: 4, gradAccumulationSteps: 2 }),
              "1×8": () => step(rows, { batchSize: 1, gradAccumulationSteps: 8 }),
              "another order, 3 + 3 + 2": () =>
                step(
                  order.map((at) => rows[at]!),
                  { batchSize: 3, gradAccumulationSteps: 3 }
                ),
              "grouped by length": () => step(rows, { batchSize: 2, gradAccumulationSteps: 4, groupByLength: true }),
              packed: () => step(rows, { batchSize: 2, gradAccumulationSteps: 8, packing: true, maxLength: 32 }),
              "padded on the right": () => step(padded(rows, false), { batchSize: 4, gradAccumulationSteps: 2 }),
              "padded on the left": () => step(padded(rows, true), { batchSize: 8 })
            }
            for (const [name, of] of Object.entries(others)) {
              const { loss, gradients } = await of()
              assertClose([loss], [whole.loss], 1e-5, `${name}: the loss`)
              for (const [i, values] of gradients.entries())
                assertClose(values, whole.gradients[i]!, 1e-5, `${name}: gradient ${i}`, 1e-3)
            }
          }
        ),
        { numRuns: engine.runs }
      )
    }
  )

  test(`${engine.name}: in a pack no document sees another, to the bit`, TIMEOUT, async () => {
    const document = (seed: number, length: number): TokenRow => {
      const input_ids = Array.from({ length }, (_, i) => (seed * 11 + i * (seed + 2)) % toySizes.vocabulary)
      return { input_ids, labels: input_ids }
    }
    const documents = [document(1, 9), document(2, 14), document(3, 11)]
    const lossesOf = (rows: ReadonlyArray<TokenRow>) =>
      prepare(rows, { batchSize: 1, packing: true, maxLength: 64 }, async (data) => {
        const [[pack, ...more] = []] = [data.batches(1)]
        assert.deepEqual([pack?.length, more.length, data.stepsPerEpoch], [3, 0, 1], "one pack of three")
        const queue = engine.open(arenasOf(engine.limits, 4 * MiB))
        const scope = new Scope(queue, "weights")
        const recipe = toyRecipe({ adapter: toyLora({}) })
        const { model } = loadAtOnce(assemble(queue, scope, recipe))
        const batch = collate(scope, pack!, { seed: 1, step: 1, training: false })
        const g = new Graph(queue, { overrides: engine.overrides, activations: "f32" })
        const losses = linearCrossEntropy(g, model.forward(g, batch), model.head, batch.targets)
        const values = await queue.read(losses)
        g[Symbol.dispose]()
        scope[Symbol.dispose]()
        await queue.close()
        let at = 0
        return pack!.map(({ sample, ids }) => {
          at += ids.length
          return { sample, losses: Array.from(values.subarray(at - ids.length, at)) }
        })
      })
    const whole = await lossesOf(documents)
    for (const changed of [0, 1, 2]) {
      const others = await lossesOf(
        documents.map((one, i) => (i === changed ? document(7 + i, one.input_ids.length) : one))
      )
      for (const { sample, losses } of whole) {
        const after = others.find((other) => other.sample === sample)!.losses
        if (sample === changed) assert.notDeepEqual(after, losses, "the changed document has other losses")
        else assert.deepEqual(after, losses, `document ${sample} when ${changed} is another`)
      }
    }
  })
}
