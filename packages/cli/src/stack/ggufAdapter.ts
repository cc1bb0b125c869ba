/**
 * A LoRA adapter as llama.cpp takes it: a GGUF of type `adapter` (llama.cpp, convert_lora_to_gguf.py and
 * src/llama-adapter.cpp). For the matrix W [out, in] called NAME there are NAME.weight.lora_a [rank, in] and .lora_b
 * [out, rank], and llama.cpp computes Wx + (alpha / rank)·B(Ax) with one alpha for all. Where ours differs from linear to
 * linear (rank-stabilised, alpha patterns), the rest of the scale is multiplied into B. Rows of query and key projections go
 * into llama.cpp's rotary order where the base's are in it.
 */
import type { EncodedTensor, EncodedValue } from "@graft/gguf"
import { architectureOf, describeLlama, ggufModule, type OpenedModel, rotaryOrder } from "@graft/llama-loader"
import { type AdapterFolder, chosenLinears, loraPlan, rankOf, scaleOf } from "@graft/lora"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"

const F32 = 0

export interface GgufAdapter {
  readonly metadata: Readonly<Record<string, EncodedValue>>
  readonly tensors: ReadonlyArray<EncodedTensor>
}

export const ggufAdapter = (
  { options, values }: AdapterFolder,
  folder: string,
  model: OpenedModel
): Effect.Effect<GgufAdapter, InvalidInput> => {
  const invalid = (message: string) => Effect.fail(new InvalidInput({ message }))
  if (options.dora)
    return invalid(
      `${folder} is a DoRA adapter, and a GGUF adapter has no magnitudes; train without --dora for llama.cpp`
    )
  if (options.modulesToSave !== undefined && options.modulesToSave.length > 0)
    return invalid(
      `${folder} has trained ${options.modulesToSave.join(", ")} whole, and a GGUF adapter holds linears only; put it into the model with graft merge`
    )
  const description = describeLlama(model.config, model.path)
  const problem = loraPlan(options, values).check(description, "gguf")
  if (problem !== undefined) return invalid(`${folder}: ${problem}`)
  const chosen = chosenLinears(description, options)
  const scaled = ({ path }: (typeof chosen)[number]) => scaleOf(path, options) * rankOf(path, options)
  const alpha = scaled(chosen[0]!)
  if (alpha === 0) return invalid(`${folder} has the scale 0 and changes nothing; there is nothing to export`)
  const architecture = architectureOf(model.config)
  const { id, pairedRows } = architecture.gguf
  const tensors: Array<EncodedTensor> = []
  for (const linear of chosen) {
    const { path, outFeatures, inFeatures } = linear
    const name = ggufModule(architecture, path)
    if (name === undefined) return invalid(`${folder}: llama.cpp has no name for ${path}`)
    const rank = rankOf(path, options)
    const [a, b] = [values.get(`${path}.lora_A`)!, values.get(`${path}.lora_B`)!]
    const rest = scaled(linear) / alpha
    const turned = pairedRows === true && /\.self_attn\.[qk]_proj$/.test(path)
    const rowsOfB = (): Uint8Array => {
      const rows = bytesOf(b.read().map((value) => value * rest))
      return turned ? rotaryOrder(rows, outFeatures, model.config.headDim) : rows
    }
    const bytes = ({ size }: typeof a, read: () => Uint8Array) => ({ length: 4 * size, read }) // f32
    tensors.push(
      { name: `${name}.weight.lora_a`, shape: [rank, inFeatures], type: F32, bytes: bytes(a, () => bytesOf(a.read())) },
      { name: `${name}.weight.lora_b`, shape: [outFeatures, rank], type: F32, bytes: bytes(b, rowsOfB) }
    )
  }
  const text = (value: string): EncodedValue => ({ type: "text", value })
  return Effect.succeed({
    metadata: {
      "general.architecture": text(id),
      "general.type": text("adapter"),
      "general.file_type": { type: "u32", value: 0 },
      "general.quantization_version": { type: "u32", value: 2 },
      "adapter.type": text("lora"),
      "adapter.lora.alpha": { type: "f32", value: alpha }
    },
    tensors
  })
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)
