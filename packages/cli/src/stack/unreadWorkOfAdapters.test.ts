/**
 * No work that nobody reads, whatever is adapted: the planned step of a small Llama with every fused pair, NF4 layers and a
 * dense head: its products counted against what the formulas need, and no command whose outputs nobody reads.
 */
import assert from "node:assert/strict"
import test from "node:test"
import { AdamW, Adapter, loadAtOnce, ModelLoader, Optimizer, oneArena, type Tensor } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { fusedPairs } from "@graft/fused-kernels"
import { decodeHuggingFace, LlamaLoader } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Nf4 } from "@graft/nf4-quant"
import { ReadingQueue } from "@graft/testing"
import { makeSession, planOf } from "@graft/trainer"
import { Effect, Layer } from "effect"
import { knownShapes } from "../synth/knownShapes.ts"
import { syntheticTensors } from "../synth/syntheticTensors.ts"

const [LAYERS, HIDDEN, INNER, VOCABULARY, TOKENS] = [3, 64, 128, 256, 24]
const linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const
type Name = (typeof linears)[number]

interface Setting {
  readonly targets: ReadonlyArray<Name>
  readonly modulesToSave: ReadonlyArray<string>
  readonly dropout: number
  readonly compute: "f32" | "bf16"
  readonly recomputed: boolean
}
const model = () => {
  const sizes = { num_hidden_layers: LAYERS, hidden_size: HIDDEN, intermediate_size: INNER, vocab_size: VOCABULARY }
  const shapes = { ...knownShapes["llama-2-7b"], ...sizes, num_attention_heads: 4, num_key_value_heads: 2 }
  const config = decodeHuggingFace("a small Llama", shapes)
  return LlamaLoader.layerOf({
    ...{ path: "a small Llama", config, tensors: syntheticTensors(config, "bf16", 0), tokenizer: undefined },
    ...{ chatTemplate: undefined, stopIds: [], description: "small", fingerprint: "small", notes: [] }
  })
}
const planned = ({ targets, modulesToSave, dropout, compute, recomputed }: Setting) => {
  const adapter = { rank: 4, targets, dropout, ...(modulesToSave.length > 0 ? { modulesToSave } : {}) }
  const stack = Layer.mergeAll(AdamW.layer(), Lora.layer(adapter)).pipe(
    Layer.provideMerge(model()),
    Layer.provide(Layer.provide(Nf4.layer, DoubleQuant.layer))
  )
  const plan = Effect.gen(function* () {
    const recipe = {
      ...{ load: (yield* ModelLoader).load, adapter: (yield* Adapter).plan, optimizer: (yield* Optimizer).make },
      ...{ overrides: new Map(fusedPairs.map((pair) => [pair.op, pair])), allReduce: () => {} },
      ...{ compute, seed: 0, checkpointing: recomputed, maxGradNorm: 1 }
    }
    const ids = Array.from({ length: TOKENS }, (_, i) => i)
    const batch = [{ sample: 0, ids, targets: ids }]
    const queue = new ReadingQueue(oneArena("meta"))
    using session = loadAtOnce(makeSession(queue, recipe))
    const results: Array<Tensor> = []
    session.step(1, [batch], 0, (scalars) => results.push(...Object.values(scalars)))
    return { program: planOf(oneArena("meta"), recipe, [batch]).program, unread: queue.unread(results) }
  })
  return Effect.runPromise(Effect.scoped(Effect.provide(plan, stack)))
}

const adaptations: ReadonlyArray<readonly [targets: ReadonlyArray<Name>, modulesToSave: ReadonlyArray<string>]> = [
  [linears, []],
  [["q_proj"], []],
  [["v_proj"], []],
  [["k_proj"], []],
  [["q_proj", "v_proj"], []],
  [["k_proj", "v_proj"], []],
  [["o_proj"], []],
  [["gate_proj"], []],
  [["up_proj"], []],
  [["down_proj"], []],
  [["q_proj"], ["embed_tokens"]],
  [["v_proj"], ["lm_head"]]
]
/** Products for the gradient of a linear's input in the first layer, whose own input is frozen: those above its first adapter. */
const gradientsInFirst = (targets: ReadonlyArray<Name>): number => {
  const above: Readonly<Record<Name, number>> = {
    ...{ q_proj: 4, k_proj: 4, v_proj: 4 }, // o, gate, up, down
    ...{ o_proj: 3, gate_proj: 1, up_proj: 1, down_proj: 0 }
  }
  return Math.max(...targets.map((name) => above[name]))
}

for (const [targets, modulesToSave] of adaptations)
  for (const dropout of [0, 0.1])
    for (const compute of ["f32", "bf16"] as const)
      for (const recomputed of [false, true]) {
        const named = `${targets.length === linears.length ? "all" : targets.join(", ")}${modulesToSave.map((name) => ` and ${name}`).join("")}`
        const way = `dropout ${dropout}, ${compute}${recomputed ? ", recomputed" : ""}`
        test(`${named}, ${way}: what is read, once`, { timeout: 60_000 }, async () => {
          const { program, unread } = await planned({ targets, modulesToSave, dropout, compute, recomputed })
          const count = (pattern: RegExp) => program.filter((op) => pattern.test(op)).length
          const embeds = modulesToSave.includes("embed_tokens")
          const trainsHead = modulesToSave.includes("lm_head")
          const adapted = (name: Name) => (targets.includes(name) ? 1 : 0)

          // Products with the layers' weights: forward, again but for down_proj, and for gradients of inputs.
          assert.equal(count(/^nf4\S*\.apply(WithTail)? /), 7 * LAYERS + (recomputed ? 6 * LAYERS : 0), "products")
          const first = embeds ? 7 : gradientsInFirst(targets)
          assert.equal(count(/^nf4\S*\.applyTransposed(WithTail)? /), 7 * (LAYERS - 1) + first, "products for dx")

          // The head: logits and dx once; trained, logits again when the losses' gradients are known, and dW.
          const heads = count(/^dense\.apply /) + (trainsHead ? count(wide("gemm", VOCABULARY)) : 0)
          assert.equal(heads, trainsHead ? 4 : 1, "products with the head")
          if (!trainsHead) assert.equal(count(/^dense\.applyTransposed /), 1, "products with the head for dx")

          // Other work of the layers.
          const again = recomputed ? LAYERS : 0
          assert.equal(count(/^attention /), LAYERS + again, "attention")
          assert.equal(count(/^rope .*"inverse":false/), 2 * (LAYERS + again), "rotations")
          const turned = embeds ? 2 : adapted("q_proj") + adapted("k_proj")
          assert.equal(count(/^rope .*"inverse":true/), 2 * (LAYERS - 1) + turned, "rotations of gradients")
          const touchesFirst = embeds || gradientsInFirst(targets) > 3
          assert.equal(count(/^attentionBackward /), LAYERS - (touchesFirst ? 0 : 1), "attention's gradients")
          const gated = embeds || gradientsInFirst(targets) > 0
          assert.equal(count(/^swigluBackward(WithY)? /), LAYERS - (gated ? 0 : 1), "gated units' gradients")
          const alone = adapted("down_proj") && !gated ? 1 : 0 // again without its gradients, for down_proj's A
          assert.equal(count(/^swiglu /), LAYERS + alone, "gated units")
          assert.equal(count(/^gatherGradient /), embeds ? 1 : 0, "the embedding's gradient")

          // Dropped inputs: for h, for dA, for the share of dx where that is read.
          if (dropout > 0) {
            const inFirst = targets.filter((name) => embeds || hasGradientOfInput(name, targets)).length
            const shares = targets.length * (LAYERS - 1) + inFirst
            const forH = targets.length * LAYERS * (recomputed ? 2 : 1)
            assert.equal(count(/^dropout /), forH + targets.length * LAYERS + shares, "dropouts")
          } else assert.equal(count(/^dropout /), 0)

          assert.deepEqual(unread.work, [], "commands whose outputs nobody reads")
          // In the first layer with an adapter one pass makes gradients of which some are not read.
          const apart = (...names: ReadonlyArray<Name>) => names.filter((name) => !targets.includes(name)).length
          const byProducts = (kernel: string) => unread.byProducts.filter((one) => one.includes(` ${kernel} `)).length
          const ofAttention = !embeds && touchesFirst ? apart("q_proj", "k_proj", "v_proj") : 0
          assert.equal(byProducts("attentionBackward"), ofAttention, "gradients of constants beside others, attention")
          const ofUnit = !embeds && gradientsInFirst(targets) === 1 ? apart("gate_proj", "up_proj") : 0
          assert.equal(byProducts("swigluBackward"), ofUnit, "gradients of constants beside others, gated unit")

          // Nothing is widened, nothing zeroed that is then written.
          const activation = `(${TOKENS}),(${HIDDEN}|${INNER}|${HIDDEN / 2})`
          assert.equal(count(new RegExp(`^addScaled .* f32\\[${activation}\\] bf16\\[`)), 0, "copies in f32")
          assert.deepEqual(
            program.filter((op) => /^fill \{"value":0\} \S+\[\d+,\d+\]/.test(op)),
            [],
            "zeroed"
          )
        })
      }

/** A product of which one side is as long as the vocabulary. */
function wide(kernel: string, size: number): RegExp {
  return new RegExp(`^${kernel} .*"(m|k|n)":${size}\\b`)
}
/** Whether somebody in the first layer, its input frozen, reads the gradient of the input of this linear. */
function hasGradientOfInput(name: Name, targets: ReadonlyArray<Name>): boolean {
  const below: Readonly<Record<Name, ReadonlyArray<Name>>> = {
    ...{ q_proj: [], k_proj: [], v_proj: [], o_proj: linears.slice(0, 3) },
    ...{ gate_proj: linears.slice(0, 4), up_proj: linears.slice(0, 4), down_proj: linears.slice(0, 6) }
  }
  return below[name].some((one) => targets.includes(one))
}
