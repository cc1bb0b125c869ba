/** A whole forward pass of the toy on a backend: the reference's numbers, documents that do not see each other, decoding. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  applyHead,
  type Batch,
  collate,
  type DType,
  denseCodec,
  Graph,
  type KeyValueCache,
  linearCrossEntropy,
  loadAtOnce,
  type Model,
  type Queue,
  ReferenceQueue,
  Scope
} from "@graft/core"
import { arenasOf, type BackendUnderTest, hasDType, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose, assertSame } from "./closeness.ts"
import { tensorOf } from "./tensorOf.ts"
import { toyDocument } from "./toyData.ts"
import { loadToyModel, type ToyOptions, toySizes } from "./toyModel.ts"

const load = (queue: Queue, scope: Scope, options: Partial<ToyOptions> = {}): Model =>
  loadAtOnce(loadToyModel(options)(queue, scope, denseCodec(), () => false))
const still = { seed: 1, step: 1, training: false }

/** Logits [tokens, vocabulary] of a batch. */
const logitsOf = (queue: Queue, model: Model, batch: Batch, cache?: KeyValueCache): Promise<Float32Array> => {
  using g = new Graph(queue)
  const hidden = model.forward(g, batch, cache === undefined ? {} : { cache })
  const logits = g.tensor([hidden.rows, toySizes.vocabulary], "logits", "f32")
  applyHead(g, logits, hidden, model)
  return queue.read(logits)
}

export const testModel = (name: string, backend: BackendUnderTest): void => {
  for (const dtype of ["f32", "bf16", "f16"] as ReadonlyArray<DType>) {
    if (!hasDType(backend, dtype)) continue
    for (const tied of [true, false]) {
      test(`${name}: logits of a ${dtype} model, ${tied ? "tied" : "untied"}: those of the reference`, async () => {
        const documents = [toyDocument(1, 21), toyDocument(2, 9)]
        const run = (queue: Queue, scope: Scope) =>
          logitsOf(queue, load(queue, scope, { dtype, tied }), collate(scope, documents, still))
        const reference = new ReferenceQueue(arenasOf(backend.limits, 4 * MiB), { limits: backend.limits })
        const wanted = await run(reference, new Scope(reference, "weights"))
        await reference.close()
        assertClose(await onDevice(backend, run), wanted, 1e-5, "logits")
      })
    }
  }
  test(`${name}: a packed document keeps its bits when the other changes`, () =>
    onDevice(backend, async (queue, scope) => {
      const model = load(queue, scope)
      const losses = async (other: number) => {
        using inBatch = new Scope(queue, "activations")
        using g = new Graph(queue)
        const batch = collate(inBatch, [toyDocument(other, 7), toyDocument(2, 40)], still)
        const all = linearCrossEntropy(g, model.forward(g, batch), model.head, batch.targets)
        return (await queue.read(all)).slice(7)
      }
      const [one, two] = [await losses(0), await losses(1)]
      assertSame(two, one, "losses of the second document")
      assert.ok(one.some((loss) => loss > 0))
    }))
  test(`${name}: decoding over a cache, token by token or in pieces, gives the logits of one pass`, () =>
    onDevice(backend, async (queue, scope) => {
      const model = load(queue, scope)
      const ids = toyDocument(3, 20).ids
      const { vocabulary, layers } = toySizes
      const whole = await logitsOf(queue, model, collate(scope, [toyDocument(3, 20)], still))
      const width = model.description.keyValueWidth
      for (const pieces of [Array<number>(20).fill(1), [11, 1, 1, 7]]) {
        const cached = Array.from({ length: layers }, () => ({
          keys: scope.tensor([32, width], "keys"),
          values: scope.tensor([32, width], "values")
        }))
        const got: Array<number> = []
        let length = 0
        for (const n of pieces) {
          using inBatch = new Scope(queue, "activations")
          const i32 = (title: string, shape: ReadonlyArray<number>, values: ReadonlyArray<number>) =>
            tensorOf(inBatch, title, shape, values, "i32")
          const some = Array.from({ length: n }, (_, i) => length + i)
          const batch: Batch = {
            ids: i32(
              "ids",
              [n],
              some.map((at) => ids[at]!)
            ),
            targets: i32(
              "targets",
              [n],
              some.map(() => -1)
            ),
            segments: i32("segments", [1, 4], [0, n, 0, length + n]),
            rowKeys: i32(
              "rowKeys",
              [n, 2],
              some.flatMap((at) => [0, at])
            ),
            ...still
          }
          got.push(...(await logitsOf(queue, model, batch, { layers: cached, length })))
          length += n
        }
        assert.equal(got.length, 20 * vocabulary)
        assertClose(got, whole, 1e-5, `pieces of ${pieces}`)
      }
    }))
}
