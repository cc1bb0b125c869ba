/**
 * A GGUF's tensors as a folder's: Hugging Face's names and row order; quantised blocks as f32 and, for a codec that keeps
 * them, as they lie. Each tensor is read when it is asked for, and converted a few megabytes of blocks at a time.
 */
import { type SourceTensor, type TensorFile, widen } from "@graft/core"
import { dequantizable, dequantize, GgufError, type GgufFile, type GgufTensor } from "@graft/gguf"
import { architectureOf } from "../architectures/known.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { huggingFaceName } from "./ggufNames.ts"
import { undoRotaryOrder } from "./rotaryRows.ts"

/** Blocks converted at a time: about this many bytes of the file. */
const CHUNK = 4 << 20

const plain: Readonly<Record<string, "f32" | "f16" | "bf16">> = { F32: "f32", F16: "f16", BF16: "bf16" }

/** @throws GgufError for a storage format that cannot be read, naming it and every tensor that has it */
export const ggufTensors = (file: GgufFile, config: LlamaConfig): TensorFile => {
  const tensors = new Map<string, SourceTensor>()
  const unreadable = new Map<string, Array<string>>()
  const architecture = architectureOf(config)
  for (const tensor of file.tensors.values()) {
    const name = huggingFaceName(architecture, tensor.name)
    if (name === undefined) continue
    const type = tensor.type.name
    if (plain[type] === undefined && !dequantizable.includes(type))
      unreadable.set(type, [...(unreadable.get(type) ?? []), tensor.name])
    else if (architecture.shiftedNorms && tensor.shape.length === 1 && name.endsWith("norm.weight"))
      tensors.set(name, unshifted(name, tensor))
    else tensors.set(name, sourceTensor(name, tensor, architecture.gguf.pairedRows ? config.headDim : undefined))
  }
  if (unreadable.size > 0)
    throw new GgufError({
      message: `${file.path} holds ${[...unreadable].map(([type, names]) => `${names.length} tensors as ${type} (${names[0]}${names.length > 1 ? ", …" : ""})`).join(" and ")}; Graft reads ${[...Object.keys(plain), ...dequantizable].join(", ")}. Take the file in one of these, or the original folder.`,
      path: file.path
    })
  return { names: [...tensors.keys()], get: (name) => tensors.get(name) }
}

/** A gain g of llama.cpp as the weight g − 1 that it was made of: its converter adds the 1. */
const unshifted = (name: string, tensor: GgufTensor): SourceTensor => ({
  name,
  shape: tensor.shape,
  dtype: "f32",
  read: () => {
    const dtype = plain[tensor.type.name]
    const gains = dtype === undefined ? floats(dequantizeAll(tensor)) : widen(tensor.read(), dtype)
    return floatBytes(gains.map((gain) => gain - 1))
  }
})
const floats = ({ buffer }: Uint8Array): Float32Array => new Float32Array(buffer)
const floatBytes = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** `headDim`: where rows of heads lie in llama.cpp's order. */
const sourceTensor = (name: string, tensor: GgufTensor, headDim: number | undefined): SourceTensor => {
  const { shape, type, path, offset, bytes } = tensor
  const rotary = headDim !== undefined && /\.self_attn\.[qk]_proj\./.test(name)
  const rows = shape[0] ?? 1
  // A head that does not divide the rows is a wrong shape: `checkWeights` says so, with all the others.
  const reorder = (content: Uint8Array): Uint8Array =>
    rotary && rows % headDim === 0 ? undoRotaryOrder(content, rows, headDim) : content
  const asItLies = { name, read: () => reorder(tensor.read()), ...(rotary ? {} : { file: { path, offset, bytes } }) }
  const dtype = plain[type.name]
  if (dtype !== undefined) return { ...asItLies, shape, dtype }
  // A row is a whole number of blocks, so that rows can change places.
  const blocks = { format: type.name, source: { ...asItLies, shape: [rows, bytes / rows], dtype: "u8" as const } }
  return { name, shape, dtype: "f32", read: () => reorder(dequantizeAll(tensor)), blocks }
}

const dequantizeAll = (tensor: GgufTensor): Uint8Array => {
  const { type, bytes } = tensor
  const out = new Float32Array((bytes / type.bytes) * type.elements)
  const step = Math.max(1, Math.floor(CHUNK / type.bytes))
  for (let block = 0; block * type.bytes < bytes; block += step) {
    const count = Math.min(step, bytes / type.bytes - block)
    const into = out.subarray(block * type.elements, (block + count) * type.elements)
    dequantize(type.name, into, tensor.read(block * type.bytes, count * type.bytes))
  }
  return new Uint8Array(out.buffer)
}
