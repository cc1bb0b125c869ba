/**
 * The forward pass of the Llama family (arXiv:2307.09288): RMSNorm, rotary embedding, grouped-query attention, SwiGLU; from
 * transformers' modeling_llama.py. Built on any queue from a list of tensors; the meta queue reads none of them.
 */
import {
  addInto,
  addRows,
  alwaysResident,
  attention,
  type Codec,
  checkpoint,
  denseCodec,
  embedding,
  type Graph,
  LinearTable,
  type Loaded,
  linear,
  type Matrix,
  type Model,
  type ModelDescription,
  type ParameterSpec,
  type Queue,
  rmsNorm,
  rope,
  ropeTable,
  type Scope,
  type SourceTensor,
  swiglu,
  type Tensor,
  type TensorFile
} from "@graft/core"
import { inverseFrequencies as frequenciesOf } from "../config/inverseFrequencies.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { WeightsMismatch } from "../folder/checkWeights.ts"

export const layerPaths = (config: LlamaConfig): ReadonlyArray<string> =>
  Array.from({ length: config.layers }, (_, i) => `model.layers.${i}`)

/** The linears of one layer with their shapes [out, in], in the order of a forward pass. */
const linearShapes = ({ hiddenSize, intermediateSize, heads, kvHeads, headDim }: LlamaConfig) =>
  [
    ["self_attn.q_proj", heads * headDim, hiddenSize],
    ["self_attn.k_proj", kvHeads * headDim, hiddenSize],
    ["self_attn.v_proj", kvHeads * headDim, hiddenSize],
    ["self_attn.o_proj", hiddenSize, heads * headDim],
    ["mlp.gate_proj", intermediateSize, hiddenSize],
    ["mlp.up_proj", intermediateSize, hiddenSize],
    ["mlp.down_proj", hiddenSize, intermediateSize]
  ] as const

export const describeLlama = (config: LlamaConfig, name: string): ModelDescription => ({
  name,
  vocabularySize: config.vocabularySize,
  maxPositions: config.maxPositions,
  layers: layerPaths(config),
  linears: layerPaths(config).flatMap((layer) =>
    linearShapes(config).map(([module, out, inner]) => ({
      path: `${layer}.${module}`,
      outFeatures: out,
      inFeatures: inner
    }))
  ),
  head: config.tieWordEmbeddings ? "model.embed_tokens" : "lm_head",
  keyValueWidth: config.kvHeads * config.headDim
})

export interface LlamaSource {
  readonly config: LlamaConfig
  readonly description: ModelDescription
  readonly tensors: TensorFile
  /** Stores the linears of the layers, and of embedding and head what lies in the file in its own format. */
  readonly codec: Codec
  /** The dtype of what the codec does not store: embedding, head, and the linears that `skip` names. */
  readonly denseDtype: "source" | "f32" | "bf16"
  readonly skip: (path: string) => boolean
}

export function* loadLlama(
  { config, description, tensors, codec, denseDtype, skip }: LlamaSource,
  queue: Queue,
  scope: Scope,
  isTrained: (path: string) => boolean
): Generator<Loaded, Model, void> {
  const dense = denseCodec(denseDtype)
  const matrices = new Map<string, Matrix>()
  const norms = new Map<string, Tensor>()
  const shapes = new Map(
    description.linears.map(({ path, outFeatures, inFeatures }) => [path, [outFeatures, inFeatures] as const])
  )
  const trained: Array<ParameterSpec> = []

  const source = (path: string): SourceTensor => {
    const found = tensors.get(`${path}.weight`)
    if (found === undefined) throw new RangeError(`${description.name}: there is no tensor ${path}.weight`)
    return found
  }
  /** Leaves a module to the trainer if the recipe trains it whole. */
  const leave = (path: string, group: string, decays: boolean): boolean => {
    if (!isTrained(path)) return false
    const tensor = source(path)
    trained.push({ path: `${path}.weight`, shape: tensor.shape, group, init: tensor, decays })
    return true
  }
  const matrix = function* (path: string, by: Codec, group: string): Generator<Loaded, void, void> {
    if (leave(path, group, true)) return
    // What lies in the file in the codec's own format stays so, also where it would not be quantised.
    const weight = codec.adopt?.(tensors, path, scope) ?? by.encode(source(path), scope, path)
    const wanted = shapes.get(path)
    if (wanted !== undefined && (weight.outFeatures !== wanted[0] || weight.inFeatures !== wanted[1])) {
      // A quantised checkpoint says a linear's shape beside its codes, which nothing has compared with the config yet.
      const problem = `${path}.weight is [${weight.outFeatures}, ${weight.inFeatures}], wanted [${wanted.join(", ")}]`
      throw new WeightsMismatch({ path: description.name, problems: [problem] })
    }
    matrices.set(path, weight)
    yield { path, bytes: weight.bytes }
  }
  const norm = function* (path: string): Generator<Loaded, void, void> {
    if (leave(path, "norm", false)) return
    const tensor = source(path)
    const gain = scope.tensor(tensor.shape, `${path}.weight`, tensor.dtype)
    queue.uploadSource(gain, tensor)
    norms.set(path, gain)
    yield { path, bytes: gain.bytes }
  }
  const found = <A>(table: ReadonlyMap<string, A>, path: string): A => {
    const value = table.get(path)
    if (value === undefined) throw new ReferenceError(`internal: ${path} was not bound`)
    return value
  }

  yield* matrix("model.embed_tokens", dense, "embedding")
  const linears = new LinearTable()
  for (const layer of description.layers) {
    yield* norm(`${layer}.input_layernorm`)
    yield* norm(`${layer}.post_attention_layernorm`)
    for (const [module] of linearShapes(config)) {
      const path = `${layer}.${module}`
      yield* matrix(path, skip(path) ? dense : codec, "base")
      linears.add({
        path,
        get weight() {
          return found(matrices, path)
        },
        forward: (g, x) => linear(g, x, found(matrices, path))
      })
    }
  }
  yield* norm("model.norm")
  if (!config.tieWordEmbeddings) yield* matrix("lm_head", dense, "embedding")
  const frequencies = frequenciesOf(config)
  const inverseFrequencies = scope.tensor([frequencies.length], "inverse frequencies")
  queue.upload(inverseFrequencies, () => frequencies)

  const { heads, kvHeads, headDim, rmsNormEpsilon: epsilon } = config
  const sizes = { heads, kvHeads, headDim, scale: 1 / Math.sqrt(headDim) }
  const normed = (g: Graph, x: Tensor, path: string) => rmsNorm(g, x, found(norms, path), epsilon)

  const model: Model = {
    description,
    linears,
    get head() {
      return found(matrices, description.head)
    },
    trained,
    bindTrained: (parameter) => {
      for (const { path } of trained) {
        const module = path.slice(0, -".weight".length)
        const t = parameter(path)
        if (t.shape.length === 1) norms.set(module, t)
        else matrices.set(module, t)
      }
    },
    forward: (g, batch, { residency = alwaysResident, checkpointing = false, cache } = {}) => {
      const block = (b: Graph, layer: string, index: number, x: Tensor, table: Tensor): Tensor =>
        b.scoped(() => {
          const through = (module: string, t: Tensor) => linears.get(`${layer}.${module}`).forward(b, t, batch)
          const a = normed(b, x, `${layer}.input_layernorm`)
          const q = rope(b, through("self_attn.q_proj", a), table, heads)
          const k = rope(b, through("self_attn.k_proj", a), table, kvHeads)
          const v = through("self_attn.v_proj", a)
          const [keys, values] = cache === undefined ? [k, v] : remember(b, cache, index, k, v)
          const mixed = through("self_attn.o_proj", attention(b, q, keys, values, batch.segments, sizes))
          const h = addRows(b, x, mixed, 0, 1)
          const m = normed(b, h, `${layer}.post_attention_layernorm`)
          const gated = swiglu(b, through("mlp.gate_proj", m), through("mlp.up_proj", m))
          return addRows(b, h, through("mlp.down_proj", gated), 0, 1)
        })
      return g.scoped(() => {
        const table = ropeTable(g, batch.rowKeys, inverseFrequencies, 1)
        let h = embedding(g, found(matrices, "model.embed_tokens"), batch.ids)
        for (const [i, layer] of description.layers.entries()) {
          const x = h
          // Residency lies outside the checkpoint, else a layer would be loaded twice in backward.
          h = g.bracket(
            () => residency.enter(layer),
            () => residency.leave(layer),
            () =>
              checkpointing
                ? checkpoint(g, x, (inner, t) => block(inner, layer, i, t, table))
                : block(g, layer, i, x, table)
          )
          g.release(x)
        }
        return normed(g, h, "model.norm")
      })
    }
  }
  return model
}

/** Writes the new keys and values behind the cached ones and gives the whole cache to attention. */
const remember = (
  g: Graph,
  { layers, length }: NonNullable<NonNullable<Parameters<Model["forward"]>[2]>["cache"]>,
  index: number,
  k: Tensor,
  v: Tensor
): readonly [Tensor, Tensor] => {
  const { keys, values } = layers[index]!
  addInto(g, keys, k, { outRow: length })
  addInto(g, values, v, { outRow: length })
  return [keys, values]
}
