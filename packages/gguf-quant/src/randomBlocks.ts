/** Blocks of any format made of seeded random bits, their scales finite and moderate: for tests and benches. */
import { narrow, type SourceTensor, uniforms } from "@graft/core"
import { blockFormats, dequantize } from "@graft/gguf"

/** Where the halves of a block lie. */
const halves: Readonly<Record<string, ReadonlyArray<number>>> = {
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0]
}

/** W [out, in] in `format`, as a loader would list it. */
export const randomBlocks = (format: string, out: number, inner: number, seed: number): SourceTensor => {
  const { elements, bytes } = blockFormats.get(format)!
  const count = (out * inner) / elements
  const all = () => {
    const content = Uint8Array.from(uniforms(count * bytes, seed, 0x66), (u) => 256 * u)
    for (const [k, at] of halves[format]!.entries()) {
      const scales = narrow(
        uniforms(count, seed + k + 1, 0x67).map((u) => (2 * u - 1) / 64),
        "f16"
      )
      for (let block = 0; block < count; block++)
        content.set(scales.subarray(2 * block, 2 * block + 2), block * bytes + at)
    }
    return content
  }
  const read = () => {
    const values = new Float32Array(out * inner)
    dequantize(format, values, all())
    return new Uint8Array(values.buffer)
  }
  const shape = [out, (inner / elements) * bytes]
  return {
    name: "w",
    shape: [out, inner],
    dtype: "f32",
    read,
    blocks: { format, source: { name: "w", shape, dtype: "u8", read: all } }
  }
}
