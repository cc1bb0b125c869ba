/**
 * Double quantization (QLoRA, arXiv:2305.14314 §3): the scales of a quantiser, less their mean, in 8 bits by a dynamic map
 * over blocks of 256. Bit-equal to bitsandbytes on a CPU, whose quantiser looks a scaled value up in a table of 65,536 entries
 * (csrc/cpu_ops.cpp), so that codes near a midpoint are those of the nearest table entry.
 */
import { fileURLToPath } from "node:url"
import { type Kernel, makePart, ScaleCodec, type ScaleFormat } from "@graft/core"
import { Effect, Layer } from "effect"
import { dynamicMap } from "./dynamicMap.ts"
import { torchMean } from "./torchMean.ts"

const f = Math.fround
/** Scales that share a nested scale. */
export const NESTED_BLOCK = 256
const map = dynamicMap()
const ENTRIES = 65_536
/** The native bodies of this package, where they were built. */
const library = fileURLToPath(
  new URL(`../prebuilt/${process.platform}-${process.arch}/double-quant.so`, import.meta.url)
)

/** The code of each of 65,536 values from −1 to 1: the count of midpoints below. */
const table = (() => {
  const codes = new Uint8Array(ENTRIES)
  let code = 0
  for (let i = 0; i < ENTRIES; i++) {
    const value = f(f(f(i / (ENTRIES - 1)) * 2) - 1)
    while (code < 255 && value > f(f(map[code]! + map[code + 1]!) * 0.5)) code++
    codes[i] = code
  }
  return codes
})()

/** (codes u8 [n], nested absmax f32 [⌈n/256⌉], offset f32 [1]) from scales f32 [n]. A block of zeros has the code 0. */
export const quantizeScales: Kernel<null> = {
  name: "doubleQuant.quantize",
  outputs: 3,
  fields: [],
  dtypes: ["u8", "f32", "f32", "f32"],
  check: ([codes, nested, , scales]) =>
    (codes!.size !== scales!.size || nested!.size !== Math.ceil(scales!.size / NESTED_BLOCK)) && "sizes differ",
  reference: ([codes, nested, offset, scales]) => {
    const mean = torchMean(scales!)
    offset![0] = mean
    for (let b = 0; b < nested!.length; b++) {
      const start = b * NESTED_BLOCK
      const end = Math.min(scales!.length, start + NESTED_BLOCK)
      let top = 0
      for (let i = start; i < end; i++) top = Math.max(top, Math.abs(f(scales![i]! - mean)))
      nested![b] = top
      const reciprocal = f(1 / top)
      for (let i = start; i < end; i++) {
        const scaled = Math.min(1, Math.max(-1, f(f(scales![i]! - mean) * reciprocal)))
        codes![i] = top === 0 ? 0 : table[Math.trunc(f(f(f(f(scaled + 1) * 0.5) * (ENTRIES - 1)) + 0.5))]!
      }
    }
  }
}

export const doubleQuant: ScaleFormat = {
  name: "double-quant",
  storageCount: 3,
  encode: (scales, scope, path) => {
    scope.queue.useLibrary(library)
    const codes = scope.tensor([scales.size], `${path}.absmax`, "u8", "weights")
    const nested = scope.tensor([Math.ceil(scales.size / NESTED_BLOCK)], `${path}.nested_absmax`, "f32", "weights")
    const offset = scope.tensor([1], `${path}.nested_offset`, "f32", "weights")
    scope.queue.enqueue(quantizeScales, [codes, nested, offset, scales], null)
    return [codes, nested, offset]
  },
  adopt: (file, path, count, scope, state) => {
    const [codes, nested, entries] = ["absmax", "nested_absmax", "nested_quant_map"].map((name) =>
      file.get(`${path}.${name}`)
    )
    const size = (shape: ReadonlyArray<number>) => shape.reduce((a, b) => a * b, 1)
    const { nested_offset: mean, nested_blocksize: block = NESTED_BLOCK } = state
    if (codes === undefined || nested === undefined || entries === undefined || mean === undefined) return undefined
    const fits =
      codes.dtype === "u8" &&
      size(codes.shape) === count &&
      nested.dtype === "f32" &&
      size(nested.shape) === Math.ceil(count / NESTED_BLOCK)
    if (!fits || block !== NESTED_BLOCK || !isOurMap(entries.read())) return undefined
    scope.queue.useLibrary(library)
    const kept = scope.tensor([count], `${path}.absmax`, "u8", "weights")
    const scales = scope.tensor([size(nested.shape)], `${path}.nested_absmax`, "f32", "weights")
    const offset = scope.tensor([1], `${path}.nested_offset`, "f32", "weights")
    scope.queue.uploadSource(kept, { ...codes, shape: [count] })
    scope.queue.uploadSource(scales, { ...nested, shape: scales.shape })
    scope.queue.upload(offset, () => [mean])
    return [kept, scales, offset]
  },
  at: ([codes, nested, offset], index) =>
    f(f(map[codes![index]!]! * nested![Math.floor(index / NESTED_BLOCK)]!) + offset![0]!)
}
const isOurMap = (bytes: Uint8Array): boolean => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return bytes.byteLength === 4 * map.length && map.every((value, i) => view.getFloat32(4 * i, true) === value)
}

export const DoubleQuant: { readonly layer: Layer.Layer<ScaleCodec> } = {
  layer: Layer.effect(
    ScaleCodec,
    Effect.map(makePart("double quantization"), (part) => ({ part, format: doubleQuant }))
  )
}
