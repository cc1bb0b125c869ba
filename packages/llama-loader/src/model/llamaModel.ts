/**
 * A Llama or one of its kin (arXiv:2307.09288, and what architectures/ says), built on any queue from a list of tensors; the
 * meta queue reads none of them. The forward pass is `decoderForward.ts`.
 */
import {
  type Codec,
  denseCodec,
  type Graph,
  type Linear,
  LinearTable,
  type Loaded,
  linear,
  type Matrix,
  type Model,
  type ModelDescription,
  type ParameterSpec,
  type Queue,
  type Scope,
  type SourceTensor,
  sourceOf,
  type Tensor,
  type TensorFile,
  widen
} from "@graft/core"
import { architectureOf } from "../architectures/known.ts"
import { linearsOf, normsOf } from "../block/shapesOf.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { WeightsMismatch } from "../folder/checkWeights.ts"
import { shiftedGain } from "../ops/shiftedGain.ts"
import { decoderForward } from "./decoderForward.ts"
import { rotaryTables } from "./rotaryTables.ts"

export const layerPaths = (config: LlamaConfig): ReadonlyArray<string> =>
  Array.from({ length: config.layers }, (_, i) => `model.layers.${i}`)

export const describeLlama = (config: LlamaConfig, name: string): ModelDescription => {
  const { block } = architectureOf(config)
  const { vocabularySize, maxPositions, tieWordEmbeddings, keyValueWidth, logitSoftCap } = config
  const layers = layerPaths(config)
  return {
    name,
    vocabularySize,
    maxPositions,
    layers,
    linears: layers.flatMap((layer) =>
      linearsOf(block, config).map(({ module, outFeatures, inFeatures }) => ({
        path: `${layer}.${module}`,
        outFeatures,
        inFeatures
      }))
    ),
    head: tieWordEmbeddings ? "model.embed_tokens" : "lm_head",
    keyValueWidth,
    ...(logitSoftCap === undefined ? {} : { logitSoftCap })
  }
}

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
  /** Gains and biases, by the tensor's name. */
  const vectors = new Map<string, Tensor>()
  const shapes = new Map(
    description.linears.map(({ path, outFeatures, inFeatures }) => [path, [outFeatures, inFeatures] as const])
  )
  const trained: Array<ParameterSpec> = []

  const { block, shiftedNorms } = architectureOf(config)

  const source = (name: string): SourceTensor => {
    const found = tensors.get(name)
    if (found === undefined) throw new RangeError(`${description.name}: there is no tensor ${name}`)
    return found
  }
  /** Leaves a tensor of a module to the trainer if the recipe trains it whole. */
  const leave = (path: string, name: string, group: string, decays: boolean): boolean => {
    if (!isTrained(path)) return false
    const tensor = source(name)
    trained.push({ path: name, shape: tensor.shape, group, init: tensor, decays })
    return true
  }
  const matrix = function* (path: string, by: Codec, group: string): Generator<Loaded, void, void> {
    if (leave(path, `${path}.weight`, group, true)) return
    // What lies in the file in the codec's own format stays so, also where it would not be quantised.
    const weight = codec.adopt?.(tensors, path, scope) ?? by.encode(source(`${path}.weight`), scope, path)
    const wanted = shapes.get(path)
    if (wanted !== undefined && (weight.outFeatures !== wanted[0] || weight.inFeatures !== wanted[1])) {
      // A quantised checkpoint says a linear's shape beside its codes, which nothing has compared with the config yet.
      const problem = `${path}.weight is [${weight.outFeatures}, ${weight.inFeatures}], wanted [${wanted.join(", ")}]`
      throw new WeightsMismatch({ path: description.name, problems: [problem] })
    }
    matrices.set(path, weight)
    yield { path, bytes: weight.bytes }
  }
  const vector = function* (
    path: string,
    name: string,
    group: string,
    stored: SourceTensor
  ): Generator<Loaded, void, void> {
    if (leave(path, name, group, false)) return
    const t = scope.tensor(stored.shape, name, stored.dtype)
    queue.uploadSource(t, stored)
    vectors.set(name, t)
    yield { path: name, bytes: t.bytes }
  }
  const norm = (path: string) => {
    const name = `${path}.weight`
    const stored = source(name)
    return vector(path, name, "norm", shiftedNorms ? shifted(stored) : stored)
  }
  const found = <A>(table: ReadonlyMap<string, A>, path: string): A => {
    const value = table.get(path)
    if (value === undefined) throw new ReferenceError(`internal: ${path} was not bound`)
    return value
  }

  yield* matrix("model.embed_tokens", dense, "embedding")
  const linears = new LinearTable()
  const own = new Set<Linear>()
  for (const layer of description.layers) {
    for (const { module } of normsOf(block, config)) yield* norm(`${layer}.${module}`)
    for (const { module, bias } of linearsOf(block, config)) {
      const path = `${layer}.${module}`
      yield* matrix(path, skip(path) ? dense : codec, "base")
      if (bias) yield* vector(path, `${path}.bias`, "base", source(`${path}.bias`))
      const one: Linear = {
        path,
        get weight() {
          return found(matrices, path)
        },
        forward: (g, x) => linear(g, x, found(matrices, path))
      }
      own.add(one)
      linears.add(one)
    }
  }
  yield* norm("model.norm")
  if (!config.tieWordEmbeddings) yield* matrix("lm_head", dense, "embedding")

  /** A gain that is trained stays what the file has, so that it goes back there. */
  const gain = (g: Graph, path: string): Tensor => {
    const w = found(vectors, `${path}.weight`)
    return shiftedNorms && isTrained(path) ? shiftedGain(g, w) : w
  }
  const model: Model = {
    description,
    linears,
    get head() {
      return found(matrices, description.head)
    },
    trained,
    bindTrained: (parameter) => {
      for (const { path } of trained) {
        const t = parameter(path)
        if (t.shape.length === 1) vectors.set(path, t)
        else matrices.set(path.slice(0, -".weight".length), t)
      }
    },
    forward: decoderForward(config, description.layers, {
      linears,
      isOwn: (one) => own.has(one),
      embedding: () => found(matrices, "model.embed_tokens"),
      gain,
      bias: (path) => vectors.get(`${path}.bias`),
      rotary: rotaryTables(config, queue, scope)
    })
  }
  return model
}

/** The gain 1 + w of a norm whose weight is w, in f32. */
const shifted = (stored: SourceTensor): SourceTensor =>
  sourceOf(stored.name, stored.shape, () => widen(stored.read(), stored.dtype).map((w) => w + 1))
