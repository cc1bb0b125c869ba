/** A GGUF of a small Llama in mixed block formats, its embedding tied and quantised: for tests. Random bits, no tokenizer. */
import { writeFileSync } from "node:fs"
import { type EncodedTensor, type EncodedValue, encodeGguf, ggmlTypes } from "@graft/gguf"
import { randomBlocks } from "@graft/gguf-quant/randomBlocks"

const HIDDEN = 256
export const VOCABULARY = 48
const KEYS = 128

const idOf = (name: string): number => [...ggmlTypes].find(([, type]) => type.name === name)![0]
const u32 = (value: number): EncodedValue => ({ type: "u32", value })
const metadata: Readonly<Record<string, EncodedValue>> = {
  "general.architecture": { type: "text", value: "llama" },
  "llama.block_count": u32(2),
  "llama.context_length": u32(64),
  "llama.embedding_length": u32(HIDDEN),
  "llama.feed_forward_length": u32(HIDDEN),
  "llama.attention.head_count": u32(4),
  "llama.attention.head_count_kv": u32(2),
  "llama.vocab_size": u32(VOCABULARY),
  "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 }
}

let seed = 0
const blocks = (name: string, format: string, rows: number): EncodedTensor => ({
  name,
  shape: [rows, HIDDEN],
  type: idOf(format),
  bytes: randomBlocks(format, rows, HIDDEN, ++seed).blocks!.source.read()
})
const gains = (name: string): EncodedTensor => ({
  name,
  shape: [HIDDEN],
  type: idOf("F32"),
  bytes: new Uint8Array(new Float32Array(HIDDEN).fill(1).buffer)
})

/** Writes it; returns the bytes of its tensors by whether they are blocks. */
export const writeTinyGguf = (path: string): { readonly packed: number; readonly dense: number } => {
  seed = 0
  const layer = (i: number, formats: ReadonlyArray<string>): ReadonlyArray<EncodedTensor> => [
    gains(`blk.${i}.attn_norm.weight`),
    gains(`blk.${i}.ffn_norm.weight`),
    ...(
      [
        ["attn_q", HIDDEN],
        ["attn_k", KEYS],
        ["attn_v", KEYS],
        ["attn_output", HIDDEN],
        ["ffn_gate", HIDDEN],
        ["ffn_up", HIDDEN],
        ["ffn_down", HIDDEN]
      ] as const
    ).map(([name, rows], k) => blocks(`blk.${i}.${name}.weight`, formats[k]!, rows))
  ]
  const tensors = [
    blocks("token_embd.weight", "Q8_0", VOCABULARY),
    gains("output_norm.weight"),
    ...layer(0, ["Q4_K", "Q6_K", "Q5_K", "Q3_K", "Q2_K", "IQ4_XS", "Q5_0"]),
    ...layer(1, ["Q4_0", "Q4_1", "Q5_1", "IQ4_NL", "Q8_0", "Q4_K", "Q6_K"])
  ]
  writeFileSync(path, encodeGguf(metadata, tensors))
  const sum = (dense: boolean) =>
    tensors.filter(({ type }) => (type === idOf("F32")) === dense).reduce((n, { bytes }) => n + bytes.length, 0)
  return { packed: sum(false), dense: sum(true) }
}
