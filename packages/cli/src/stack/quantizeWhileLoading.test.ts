/**
 * Quantising while loading holds one tensor unquantised at a time: by the plan, whose arenas are all that a device reserves,
 * and whatever the number of layers.
 */
import assert from "node:assert/strict"
import { test } from "node:test"
import { bytesOf, MetaQueue, oneArena, Scope, sizeOf, sourceOf } from "@graft/core"
import { doubleQuant } from "@graft/double-quant"
import { describeLlama, expectedTensors, LlamaConfig, loadLlama } from "@graft/llama-loader"
import { fourBitCodec, fp4, nf4, plainScales } from "@graft/nf4-quant"

const shape = { hiddenSize: 256, intermediateSize: 700, heads: 4, kvHeads: 2, headDim: 64, vocabularySize: 320 }
const configOf = (layers: number) =>
  new LlamaConfig({
    architecture: "llama",
    ...shape,
    layers,
    maxPositions: 64,
    ropeTheta: 1e4,
    ropeScaling: { type: "none" },
    rmsNormEpsilon: 1e-5,
    tieWordEmbeddings: true,
    attentionBias: false,
    mlpBias: false,
    eosTokenIds: []
  })

for (const dtype of ["f32", "bf16", "f16"] as const) {
  for (const [codebook, scales] of [
    [nf4, plainScales],
    [nf4, doubleQuant],
    [fp4, doubleQuant]
  ] as const) {
    test(`${codebook.name} over ${scales.name} scales from ${dtype}: one tensor at a time`, () => {
      const planned = (layers: number) => {
        const config = configOf(layers)
        const list = [...expectedTensors(config)]
        const tensors = new Map(list.map(({ name, shape }) => [name, sourceOf(name, shape, () => [], dtype)]))
        const file = { names: [...tensors.keys()], get: (name: string) => tensors.get(name) }
        const queue = new MetaQueue(oneArena("meta"))
        const description = describeLlama(config, "made up")
        const codec = fourBitCodec(codebook, scales, 64)
        const source = { config, description, tensors: file, codec, denseDtype: "source", skip: () => false } as const
        const loading = loadLlama(source, queue, new Scope(queue, "weights"), () => false)
        for (let next = loading.next(); next.done !== true; next = loading.next());
        const linears = list.filter(({ linear }) => linear).map(({ shape }) => sizeOf(shape))
        return { plan: queue.plan, weights: queue.allocator.liveBytes, largest: Math.max(...linears) }
      }
      const { plan, weights, largest } = planned(6)
      const dense = largest * bytesOf[dtype]
      const scale = 4 * Math.ceil(largest / 64)
      const workspace = plan.byCategory.get("workspace")!
      // The tensor, its scales before they are encoded, and its name for messages.
      assert.ok(workspace >= dense && workspace <= dense + scale + 1024, `${workspace} for a tensor of ${dense}`)
      assert.ok(plan.peakBytes <= weights + workspace + 4096, `${plan.peakBytes} for ${weights} in the end`)
      assert.equal(planned(1).plan.byCategory.get("workspace"), workspace)
    })
  }
}
