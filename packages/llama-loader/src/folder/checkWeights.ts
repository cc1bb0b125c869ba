/** Compares a model's tensors with its description, all of them, before any is read: one error names every mismatch. */
import { basename } from "node:path"
import type { TensorFile } from "@graft/core"
import { Schema } from "effect"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { type ExpectedTensor, expectedTensors } from "./expectedTensors.ts"

export class WeightsMismatch extends Schema.TaggedError<WeightsMismatch>()("WeightsMismatch", {
  path: Schema.String,
  problems: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const shown = this.problems.slice(0, 30)
    const rest = this.problems.length - shown.length
    return `${this.path}: its tensors do not fit its description: ${shown.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}. Check that config and weights are of one model.`
  }
}

/** Tensors that some writers add and a forward pass does not need. */
const superfluous = /(?:\.rotary_emb\.inv_freq|^rope_freqs\.weight)$/

/** @throws WeightsMismatch */
export const checkWeights = (path: string, config: LlamaConfig, tensors: TensorFile): void => {
  const problems: Array<string> = []
  const names = new Set(tensors.names)
  if (config.layers > names.size) {
    // So that a description of ten thousand layers over an empty file is one line and not a hundred thousand.
    throw new WeightsMismatch({
      path,
      problems: [`${config.layers} layers are described, and there are ${names.size} tensors`]
    })
  }
  for (const expected of expectedTensors(config)) {
    if (!names.has(expected.name)) problems.push(`${expected.name} ${list(expected.shape)} is missing`)
    else {
      const problem = check(config, tensors, names, expected)
      if (problem !== undefined) problems.push(problem)
    }
    names.delete(expected.name)
  }
  // A tied head may be stored all the same.
  if (config.tieWordEmbeddings) names.delete("lm_head.weight")
  for (const name of names)
    if (!superfluous.test(name) && !isQuantizationPart(name, tensors))
      problems.push(`${name} has no place in the model`)
  if (problems.length > 0) throw new WeightsMismatch({ path, problems })
}

const check = (
  config: LlamaConfig,
  tensors: TensorFile,
  names: ReadonlySet<string>,
  { name, shape, linear }: ExpectedTensor
): string | undefined => {
  const tensor = tensors.get(name)!
  const quantized = linear && [...QUANTIZED].some((kind) => names.has(`${name}.${kind}`))
  if (quantized) {
    if (config.quantization === undefined) return `${name} is quantised, and the config has no quantization_config`
    return undefined // its true shape stands in its quant_state, which the codec's reader checks
  }
  const shard = basename(tensor.file?.path ?? "")
  const where = /-\d{5}-of-\d{5}\./.test(shard) ? ` in ${shard}` : ""
  if (tensor.dtype !== "f32" && tensor.dtype !== "bf16" && tensor.dtype !== "f16")
    return `${name} is ${tensor.dtype}${where}, where f32, bf16 or f16 is wanted`
  return tensor.shape.length === shape.length && shape.every((size, i) => tensor.shape[i] === size)
    ? undefined
    : `${name} is ${list(tensor.shape)}${where}, wanted ${list(shape)}`
}

const list = (shape: ReadonlyArray<number>): string => `[${shape.join(", ")}]`

/** What bitsandbytes stores beside a quantised weight (formats: 4-bit with and without double quantization, 8-bit). */
const QUANTIZED = new Set(["quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4"])
const PARTS = [...QUANTIZED, "absmax", "quant_map", "nested_absmax", "nested_quant_map"]

const isQuantizationPart = (name: string, tensors: TensorFile): boolean =>
  PARTS.some((part) => name.endsWith(`.weight.${part}`) && tensors.get(name.slice(0, -part.length - 1)) !== undefined)
