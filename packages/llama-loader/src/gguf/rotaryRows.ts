/**
 * The order of a head's rows. Rotary embedding turns pairs of a head's numbers; Hugging Face pairs number i with i + half,
 * llama.cpp for the architecture `llama` pairs 2i with 2i + 1, so that its converter permutes the rows of the query and key
 * projections (convert_hf_to_gguf.py, LlamaModel.permute). Undone here when read, so that an adapter trained on a GGUF and
 * one trained on the folder it came from are the same thing; done again where an adapter is written for llama.cpp.
 */

/** Rows of `bytes` ([rows, rowBytes], rows = heads · headDim) from llama.cpp's order into Hugging Face's. */
export const undoRotaryOrder = (bytes: Uint8Array, rows: number, headDim: number): Uint8Array =>
  reorder(bytes, rows, headDim, (theirs, ours) => [theirs, ours])

/** The other way: from Hugging Face's order into llama.cpp's. */
export const rotaryOrder = (bytes: Uint8Array, rows: number, headDim: number): Uint8Array =>
  reorder(bytes, rows, headDim, (theirs, ours) => [ours, theirs])

const reorder = (
  bytes: Uint8Array,
  rows: number,
  headDim: number,
  direction: (theirs: number, ours: number) => readonly [from: number, to: number]
): Uint8Array => {
  const rowBytes = bytes.byteLength / rows
  const half = headDim / 2
  const out = new Uint8Array(bytes.byteLength)
  for (let head = 0; head < rows; head += headDim)
    for (let side = 0; side < 2; side++)
      for (let i = 0; i < half; i++) {
        const [from, to] = direction(head + 2 * i + side, head + side * half + i)
        out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), to * rowBytes)
      }
  return out
}
