/** A model's description from a GGUF's metadata (docs/gguf.md, "LLM"; llama.cpp, src/llama-model.cpp, load_hparams). */
import { fromBf16, fromF16 } from "@graft/core"
import type { GgufFile, GgufTensor, GgufValue } from "@graft/gguf"
import { architectureOfGguf } from "../architectures/known.ts"
import { eachLayer } from "../architectures/layerKinds.ts"
import { ConfigError } from "../config/ConfigError.ts"
import type { LlamaConfig, RopeScaling } from "../config/LlamaConfig.ts"
import { makeConfig } from "../config/makeConfig.ts"
import { longRopeAttention } from "../config/ropeScaling.ts"

/** @throws ConfigError | UnknownArchitecture */
export const ggufConfig = (file: GgufFile): LlamaConfig => {
  const { path, metadata, tensors } = file
  const fail = (what: string): never => {
    throw new ConfigError({ message: `${path} does not describe a model that is known: ${what}`, path })
  }
  const architecture = String(metadata.get("general.architecture") ?? "(none)")
  const type = metadata.get("general.type") ?? "model"
  if (type !== "model") return fail(`it is of the type ${JSON.stringify(type)}, not a model`)
  const family = architectureOfGguf(path, architecture)
  const get = (key: string): GgufValue | undefined => metadata.get(`${architecture}.${key}`)
  const number = (key: string): number | undefined => {
    const value = get(key)
    if (value === undefined) return undefined
    // Per-layer lists occur; these models' layers are all of one size.
    const same = isNumbers(value) && value.length > 0 && value.every((item) => item === value[0]) ? value[0] : value
    return typeof same === "number" ? same : fail(`${architecture}.${key} is not one number for all layers`)
  }
  const required = (key: string): number => number(key) ?? fail(`it has no ${architecture}.${key}`)

  const heads = required("attention.head_count")
  const hiddenSize = required("embedding_length")
  const headDim = number("attention.key_length") ?? hiddenSize / heads
  const valueDim = number("attention.value_length") ?? headDim
  const rotary = number("rope.dimension_count") ?? headDim
  if (valueDim !== headDim || rotary !== headDim)
    return fail(
      `heads have ${headDim} numbers, of values ${valueDim}, of which ${rotary} are turned; all three must agree`
    )
  const experts = number("expert_count") ?? 0
  if (experts > 0) return fail(`it is a mixture of ${experts} experts, which is not supported`)
  const embedding = tensors.get("token_embd.weight")
  const tokens = metadata.get("tokenizer.ggml.tokens")
  const vocabularySize =
    embedding?.shape[0] ?? number("vocab_size") ?? (Array.isArray(tokens) ? tokens.length : undefined)

  const bos = metadata.get("tokenizer.ggml.bos_token_id")
  const eos = ["eos", "eot", "eom"].map((kind) => metadata.get(`tokenizer.ggml.${kind}_token_id`))
  const layers = required("block_count")
  return makeConfig(path, {
    architecture: family.name,
    hiddenSize,
    intermediateSize: required("feed_forward_length"),
    layers,
    heads,
    kvHeads: number("attention.head_count_kv") ?? heads,
    headDim,
    vocabularySize,
    maxPositions: required("context_length"),
    ropeTheta: number("rope.freq_base") ?? 10_000,
    ropeScaling: scaling(file, number, get, fail),
    rmsNormEpsilon: required("attention.layer_norm_rms_epsilon"),
    tieWordEmbeddings: !tensors.has("output.weight"),
    attentionBias: tensors.has("blk.0.attn_q.bias") || tensors.has("blk.0.attn_qkv.bias"),
    mlpBias: tensors.has("blk.0.ffn_up.bias"),
    ...(bos === undefined ? {} : { bosTokenId: bos }),
    eosTokenIds: [...new Set(eos.filter((id) => id !== undefined))],
    ...family.gguf.decode?.({
      number,
      fields: { hiddenSize, layers, heads, headDim },
      each: (rule) => eachLayer(layers, rule),
      fail
    })
  })
}

const isNumbers = (value: GgufValue): value is Uint32Array | Int32Array =>
  value instanceof Uint32Array || value instanceof Int32Array

const scaling = (
  file: GgufFile,
  number: (key: string) => number | undefined,
  get: (key: string) => GgufValue | undefined,
  fail: (what: string) => never
): RopeScaling => {
  const frequencies = file.tensors.get("rope_freqs.weight")
  if (frequencies !== undefined) return { type: "factors", factors: [...floatsOf(frequencies, fail)] }
  const [short, long] = ["short", "long"].map((length) => file.tensors.get(`rope_factors_${length}.weight`))
  if (short !== undefined && long !== undefined) {
    const maxPositions = number("context_length") ?? 0
    const originalMaxPositions = number("rope.scaling.original_context_length") ?? maxPositions
    return {
      type: "longrope",
      shortFactors: [...floatsOf(short, fail)],
      longFactors: [...floatsOf(long, fail)],
      originalMaxPositions,
      attentionFactor:
        number("rope.scaling.attn_factor") ??
        longRopeAttention(maxPositions / originalMaxPositions, originalMaxPositions)
    }
  }
  const type = get("rope.scaling.type") ?? "none"
  const factor = get("rope.scaling.factor") ?? get("rope.scale_linear")
  if (type === "none" && get("rope.scale_linear") === undefined) return { type: "none" }
  if ((type === "linear" || type === "none") && typeof factor === "number")
    return factor === 1 ? { type: "none" } : { type: "linear", factor }
  return fail(
    `its rotary embedding is scaled by ${JSON.stringify(type)}, factor ${String(factor)}; none and linear are known`
  )
}

/** A small float tensor whole: rope_freqs has at most a few hundred numbers. */
const floatsOf = (tensor: GgufTensor, fail: (what: string) => never): Float32Array => {
  if (tensor.bytes > 1 << 16)
    return fail(`${tensor.name} has ${tensor.bytes} bytes, far more than a head's frequencies`)
  const bytes = tensor.read()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = bytes.byteLength / tensor.type.bytes
  const at: Readonly<Record<string, (i: number) => number>> = {
    F32: (i) => view.getFloat32(4 * i, true),
    F16: (i) => fromF16(view.getUint16(2 * i, true)),
    BF16: (i) => fromBf16(view.getUint16(2 * i, true))
  }
  const read = at[tensor.type.name]
  return read === undefined
    ? fail(`${tensor.name} is stored as ${tensor.type.name}; F32, F16 or BF16 is wanted`)
    : Float32Array.from({ length: count }, (_, i) => read(i))
}
