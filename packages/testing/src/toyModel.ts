/**
 * A Llama in small with everything that a real one has: two layers, grouped queries, rope, an explicit head width, embedding
 * and head tied or not, any part frozen or trained. Random weights, no file.
 */
import {
  addInto,
  addRows,
  alwaysResident,
  attention,
  type Codec,
  checkpoint,
  type DType,
  denseCodec,
  embedding,
  type Graph,
  type Linear,
  LinearTable,
  type LoadModel,
  linear,
  type Matrix,
  type Model,
  type ModelDescription,
  ModelLoader,
  makePart,
  type ParameterSpec,
  rmsNorm,
  rope,
  ropeTable,
  type SourceTensor,
  siteOf,
  sizeOf,
  sourceOf,
  swiglu,
  type Tensor,
  uniforms,
  WeightCodec
} from "@graft/core"
import { Effect, Layer } from "effect"

export const toySizes = { layers: 2, hidden: 16, inner: 20, heads: 4, kvHeads: 2, headDim: 6, vocabulary: 32 }
const { hidden, inner, heads, kvHeads, headDim, vocabulary } = toySizes
const EPSILON = 1e-5
const sizes = { heads, kvHeads, headDim, scale: headDim ** -0.5 }

export interface ToyOptions {
  readonly seed: number
  /** Embedding and head are one matrix. */
  readonly tied: boolean
  /** Of the "file". */
  readonly dtype: DType
}
const layers = Array.from({ length: toySizes.layers }, (_, i) => `model.layers.${i}`)
const linearShapes = [
  ["self_attn.q_proj", heads * headDim, hidden],
  ["self_attn.k_proj", kvHeads * headDim, hidden],
  ["self_attn.v_proj", kvHeads * headDim, hidden],
  ["self_attn.o_proj", hidden, heads * headDim],
  ["mlp.gate_proj", inner, hidden],
  ["mlp.up_proj", inner, hidden],
  ["mlp.down_proj", hidden, inner]
] as const

export const describeToy = (tied: boolean): ModelDescription => ({
  name: "toy",
  vocabularySize: vocabulary,
  maxPositions: 64,
  layers,
  linears: layers.flatMap((layer) =>
    linearShapes.map(([name, out, columns]) => ({ path: `${layer}.${name}`, outFeatures: out, inFeatures: columns }))
  ),
  head: tied ? "model.embed_tokens" : "lm_head",
  keyValueWidth: kvHeads * headDim
})

/** Matrices uniform with variance 1/in, gains near 1. */
const toyTensor = ({ seed, dtype }: ToyOptions, path: string, shape: ReadonlyArray<number>): SourceTensor => {
  const [size, middle] = shape.length === 1 ? [0.2, 1] : [Math.sqrt(3 / shape[1]!), 0]
  return sourceOf(
    `${path}.weight`,
    shape,
    () => uniforms(sizeOf(shape), seed, siteOf(path)).map((u) => middle + size * (2 * u - 1)),
    dtype
  )
}

export const loadToyModel = (given: Partial<ToyOptions> = {}): LoadModel =>
  function* (queue, scope, codec, isTrained) {
    const options: ToyOptions = { seed: 7, tied: true, dtype: "f32", ...given }
    const description = describeToy(options.tied)
    const matrices = new Map<string, Matrix>()
    const norms = new Map<string, Tensor>()
    const trained: Array<ParameterSpec> = []
    const linears = new LinearTable()

    const matrix = function* (path: string, out: number, columns: number, by: Codec) {
      const source = toyTensor(options, path, [out, columns])
      if (isTrained(path)) {
        trained.push({ path: `${path}.weight`, shape: source.shape, group: "base", init: source, decays: true })
        return
      }
      const weight = by.encode(source, scope, path)
      matrices.set(path, weight)
      yield { path, bytes: weight.bytes }
    }
    const norm = function* (path: string) {
      const source = toyTensor(options, path, [hidden])
      if (isTrained(path)) {
        trained.push({ path: `${path}.weight`, shape: source.shape, group: "base", init: source, decays: false })
        return
      }
      const gain = scope.tensor(source.shape, path, source.dtype)
      queue.uploadSource(gain, source)
      norms.set(path, gain)
      yield { path, bytes: gain.bytes }
    }
    const dense = denseCodec()
    yield* matrix("model.embed_tokens", vocabulary, hidden, dense)
    for (const layer of layers) {
      yield* norm(`${layer}.input_layernorm`)
      yield* norm(`${layer}.post_attention_layernorm`)
      for (const [name, out, columns] of linearShapes) {
        const path = `${layer}.${name}`
        yield* matrix(path, out, columns, codec)
        linears.add({
          path,
          get weight() {
            return matrices.get(path)!
          },
          forward: (g, x) => linear(g, x, matrices.get(path)!)
        } satisfies Linear)
      }
    }
    yield* norm("model.norm")
    if (!options.tied) yield* matrix("lm_head", vocabulary, hidden, dense)
    const frequencies = scope.tensor([headDim / 2], "inverse frequencies")
    queue.upload(frequencies, () => Array.from({ length: headDim / 2 }, (_, i) => 100 ** ((-2 * i) / headDim)))

    return {
      description,
      linears,
      get head() {
        return matrices.get(description.head)!
      },
      trained,
      bindTrained: (parameter) => {
        for (const { path, shape } of trained) {
          const module = path.slice(0, -".weight".length)
          if (shape.length === 1) norms.set(module, parameter(path))
          else matrices.set(module, parameter(path))
        }
      },
      forward: forwardOf(linears, matrices, norms, frequencies)
    } satisfies Model
  }

const forwardOf =
  (
    linears: LinearTable,
    matrices: ReadonlyMap<string, Matrix>,
    norms: ReadonlyMap<string, Tensor>,
    frequencies: Tensor
  ): Model["forward"] =>
  (g, batch, { residency = alwaysResident, checkpointing = false, cache } = {}) => {
    const block = (b: Graph, index: number, x: Tensor, table: Tensor): Tensor =>
      b.scoped(() => {
        const layer = layers[index]!
        const through = (name: string, t: Tensor) => linears.get(`${layer}.${name}`).forward(b, t, batch)
        const a = rmsNorm(b, x, norms.get(`${layer}.input_layernorm`)!, EPSILON)
        const q = rope(b, through("self_attn.q_proj", a), table, heads)
        let k = rope(b, through("self_attn.k_proj", a), table, kvHeads)
        let v = through("self_attn.v_proj", a)
        if (cache !== undefined) {
          const { keys, values } = cache.layers[index]!
          addInto(b, keys, k, { outRow: cache.length })
          addInto(b, values, v, { outRow: cache.length })
          k = keys
          v = values
        }
        const h = addRows(b, x, through("self_attn.o_proj", attention(b, q, k, v, batch.segments, sizes)), 0, 1)
        const m = rmsNorm(b, h, norms.get(`${layer}.post_attention_layernorm`)!, EPSILON)
        const gated = swiglu(b, through("mlp.gate_proj", m), through("mlp.up_proj", m))
        return addRows(b, h, through("mlp.down_proj", gated), 0, 1)
      })
    const recomputed = checkpointing === true ? layers.length : Number(checkpointing)
    return g.scoped(() => {
      const table = ropeTable(g, batch.rowKeys, frequencies, 1)
      let h = embedding(g, matrices.get("model.embed_tokens")!, batch.ids)
      for (const [i, layer] of layers.entries()) {
        const x = h
        // Outside the checkpoint: a layer is entered once a pass.
        h = g.bracket(
          () => residency.enter(layer),
          () => residency.leave(layer),
          () => (i < recomputed ? checkpoint(g, x, (b, t) => block(b, i, t, table)) : block(g, i, x, table))
        )
        g.release(x)
      }
      return rmsNorm(g, h, norms.get("model.norm")!, EPSILON)
    })
  }

export const ToyLoader = {
  layer: (options: Partial<ToyOptions> = {}): Layer.Layer<ModelLoader, never, WeightCodec> =>
    Layer.effect(
      ModelLoader,
      Effect.gen(function* () {
        const below = yield* WeightCodec
        const load = loadToyModel(options)
        return {
          part: yield* makePart("toy loader", below),
          description: describeToy(options.tied ?? true),
          codec: below.codec.name,
          load: (queue, scope, trained) => load(queue, scope, below.codec, trained)
        }
      })
    )
}
