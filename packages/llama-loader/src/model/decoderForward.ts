/**
 * The forward pass of a decoder: embedding, layers in a residency each, last norm. What a layer does is the block of its
 * architecture (architectures/, block/), over the linears of the table, which adapters may have replaced.
 */
import {
  type AttentionOptions,
  addInto,
  addRmsNorm,
  alwaysResident,
  attention,
  checkpoint,
  embedding,
  type ForwardOptions,
  fromBf16,
  type Graph,
  type Linear,
  type LinearTable,
  type Matrix,
  type Model,
  rmsNorm,
  rope,
  Tensor,
  toBf16
} from "@graft/core"
import { architectureOf } from "../architectures/known.ts"
import type { Layer } from "../block/Layer.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { addBias } from "../ops/addBias.ts"
import { scaled } from "../ops/scaled.ts"
import type { MakeRotaryTables } from "./rotaryTables.ts"

export interface DecoderWeights {
  readonly linears: LinearTable
  /** Whether a linear is the model's own, which no adapter has replaced. */
  readonly isOwn: (linear: Linear) => boolean
  readonly embedding: () => Matrix
  readonly gain: (g: Graph, path: string) => Tensor
  readonly bias: (path: string) => Tensor | undefined
  readonly rotary: MakeRotaryTables
}

export const decoderForward = (
  config: LlamaConfig,
  layers: ReadonlyArray<string>,
  weights: DecoderWeights
): Model["forward"] => {
  const { block } = architectureOf(config)
  const { heads, kvHeads, headDim, rmsNormEpsilon: epsilon } = config
  const scale = config.attentionScale ?? 1 / Math.sqrt(headDim)
  const sizes = layers.map((_, index) => ({
    ...{ heads, kvHeads, headDim, scale, softCap: config.attentionSoftCap ?? 0 },
    window: slides(config, index) ? (config.window ?? 0) : 0
  }))

  return (g, batch, { residency = alwaysResident, checkpointing = false, attentionAgain, cache } = {}) => {
    // The last layers are those that keep: they are done with before an earlier one is computed again.
    const recomputed = checkpointing === true ? layers.length : Number(checkpointing)
    const attendedAgain = attentionAgain ?? recomputed
    return g.scoped(() => {
      const tables = weights.rotary(g, batch.rowKeys, cache?.layers[0]?.keys.rows ?? batch.ids.size)
      const layerOf = (b: Graph, path: string, index: number, kept: AttentionOptions["kept"]): Layer => {
        const table = slides(config, index) ? tables.sliding : tables.full
        const turned = config.rotaryLayers?.[index] ?? true
        const biased = (module: string, y: Tensor) => {
          const bias = weights.bias(`${path}.${module}`)
          return bias === undefined ? y : addBias(b, y, bias)
        }
        return {
          g: b,
          config,
          linear: (module, x) => biased(module, weights.linears.get(`${path}.${module}`).forward(b, x, batch)),
          adapted: (module, x) => {
            const linear = weights.linears.get(`${path}.${module}`)
            const { weight, segments } = linear
            if (weight instanceof Tensor || (segments === undefined && !weights.isOwn(linear))) return undefined
            return { weight, segments: segments?.(batch, 0, x.rows) ?? [] }
          },
          biased,
          norm: (module, x) => rmsNorm(b, x, weights.gain(b, `${path}.${module}`), epsilon),
          addNorm: (module, x, y) => addRmsNorm(b, x, y, weights.gain(b, `${path}.${module}`), epsilon),
          turn: (x, count) => (turned ? rope(b, x, table, count) : x),
          attend: (q, k, v) => {
            const [keys, values] = cache === undefined ? [k, v] : remember(b, cache, index, k, v)
            const remade = index >= recomputed && index < attendedAgain
            return attention(b, q, keys, values, batch.segments, { ...sizes[index]!, remade, kept })
          }
        }
      }
      const through = (b: Graph, path: string, index: number, x: Tensor, kept?: AttentionOptions["kept"]): Tensor =>
        b.scoped(() => block.residual.forward(layerOf(b, path, index, kept), x, block.attention, block.mlp))
      const again = (path: string, index: number, x: Tensor): Tensor => {
        if (index < attendedAgain) return checkpoint(g, x, (inner, t) => through(inner, path, index, t))
        const out = g.tensor([x.rows, heads * headDim], "attention")
        const lse = g.tensor([x.rows, heads], "logsumexp", "f32")
        let filled = false
        const y = checkpoint(g, x, (inner, t) => {
          const kept = { out, lse, filled }
          filled = true
          return through(inner, path, index, t, kept)
        })
        for (const t of [out, lse]) g.release(t)
        return y
      }

      let h = embedded(g, config, embedding(g, weights.embedding(), batch.ids))
      for (const [i, path] of layers.entries()) {
        const x = h
        // Residency lies outside the checkpoint, else a layer would be loaded twice in backward.
        h = g.bracket(
          () => residency.enter(path),
          () => residency.leave(path),
          () => (i < recomputed ? again(path, i, x) : through(g, path, i, x))
        )
        g.release(x)
      }
      return rmsNorm(g, h, weights.gain(g, "model.norm"), epsilon)
    })
  }
}

const slides = ({ window, slidingLayers }: LlamaConfig, index: number): boolean =>
  window !== undefined && (slidingLayers?.[index] ?? true)

/** In bf16 the factor is a bf16 too, as it was when such a model was made (transformers, Gemma2TextScaledWordEmbedding). */
const embedded = (g: Graph, { embeddingScale: factor }: LlamaConfig, x: Tensor): Tensor =>
  factor === undefined ? x : scaled(g, x, g.activations === "bf16" ? fromBf16(toBf16(factor)) : factor)

/** Writes the new keys and values behind the cached ones and gives the whole cache to attention. */
const remember = (
  g: Graph,
  { layers, length }: NonNullable<ForwardOptions["cache"]>,
  index: number,
  k: Tensor,
  v: Tensor
): readonly [Tensor, Tensor] => {
  const { keys, values } = layers[index]!
  addInto(g, keys, k, { outRow: length })
  addInto(g, values, v, { outRow: length })
  return [keys, values]
}
