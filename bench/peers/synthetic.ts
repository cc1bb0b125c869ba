/** A model of exactly Llama-2-7b's shapes (any number of its layers) with seeded random weights, made as they are read. */
import { normals, siteOf, sourceOf, type TensorFile, toBf16 } from "@graft/core"
import { decodeHuggingFace, expectedTensors, type OpenedModel } from "@graft/llama-loader"

const TABLE = 1 << 20 // numbers that are drawn; tensors are windows into their repetition, which is fast and dull enough

export const synthetic = (layers: number): OpenedModel => {
  const config = decodeHuggingFace("Llama-2-7b", {
    architectures: ["LlamaForCausalLM"],
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: layers,
    num_attention_heads: 32,
    vocab_size: 32000,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    torch_dtype: "bfloat16"
  })
  const bits = Uint16Array.from(normals(TABLE, 1, 2), (v) => toBf16(0.02 * v))
  const read = (name: string, size: number) => {
    const values = new Uint16Array(size)
    let from = siteOf(name) % TABLE
    for (let at = 0; at < size; from = 0) {
      const part = bits.subarray(from, from + Math.min(TABLE - from, size - at))
      values.set(part, at)
      at += part.length
    }
    return new Uint8Array(values.buffer)
  }
  const tensors = new Map(
    [...expectedTensors(config)].map(({ name, shape }) => {
      const size = shape.reduce((a, b) => a * b, 1)
      const dense = { name, shape, dtype: "bf16" as const, read: () => read(name, size) }
      return [name, shape.length === 1 ? sourceOf(name, shape, () => new Float32Array(size).fill(1)) : dense] as const
    })
  )
  const file: TensorFile = { names: [...tensors.keys()], get: (name) => tensors.get(name) }
  return {
    path: `synthetic Llama-2-7b, ${layers} layers`,
    config,
    tensors: file,
    tokenizer: undefined,
    chatTemplate: undefined,
    stopIds: [],
    description: `Llama-2-7b's shapes, ${layers} of 32 layers, random weights`,
    fingerprint: `synthetic ${layers}`,
    notes: []
  }
}
