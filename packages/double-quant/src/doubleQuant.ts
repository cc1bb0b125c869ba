/**
 * Double quantization (QLoRA, arXiv:2305.14314 §3): the scales of a quantiser, less their mean, in 8 bits by a dynamic map
 * over blocks of 256. Bit-equal to bitsandbytes on a CPU, whose quantiser looks a scaled value up in a table of 65,536 entries
 * (csrc/cpu_ops.cpp), so that codes near a midpoint are those of the nearest table entry.
 */
import { fileURLToPath } from "node:url"
import {
  type DType,
  type Kernel,
  makePart,
  ScaleCodec,
  type ScaleFormat,
  type SourceTensor,
  sizeOf,
  sourceOf,
  widen
} from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { dynamicMap } from "./dynamicMap.ts"
import { torchMean } from "./torchMean.ts"

/** Doubly quantised scales of a checkpoint that contradict each other. */
export class DoubleQuantError extends Schema.TaggedError<DoubleQuantError>()("DoubleQuantError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}; fetch the checkpoint again`
  }
}

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
    const nested = file.get(`${path}.nested_absmax`)
    if (nested === undefined) return undefined
    const fail = (problem: string) => new DoubleQuantError({ path, problem })
    const need = (name: string, dtype: DType, size: number): SourceTensor => {
      const tensor = file.get(`${path}.${name}`)
      if (tensor === undefined) throw fail(`has no ${name} beside its nested_absmax`)
      if (tensor.dtype !== dtype || sizeOf(tensor.shape) !== size)
        throw fail(`its ${name} is ${tensor.dtype} [${tensor.shape}], wanted ${dtype} [${size}]`)
      return tensor
    }
    const { nested_offset: mean, nested_blocksize: block } = state
    if (mean === undefined || !Number.isFinite(Math.fround(mean))) throw fail(`its nested_offset is ${mean}`)
    if (block !== NESTED_BLOCK) throw fail(`its scales are in blocks of ${block}, wanted ${NESTED_BLOCK}`)
    const codes = need("absmax", "u8", count)
    const scales = need("nested_absmax", "f32", Math.ceil(count / NESTED_BLOCK))
    if (!isOurMap(need("nested_quant_map", "f32", map.length).read()))
      throw fail("its nested_quant_map is not the signed dynamic map of 8 bits")
    scope.queue.useLibrary(library)
    const storage = [
      scope.tensor([count], `${path}.absmax`, "u8", "weights"),
      scope.tensor([sizeOf(scales.shape)], `${path}.nested_absmax`, "f32", "weights"),
      scope.tensor([1], `${path}.nested_offset`, "f32", "weights")
    ] as const
    scope.queue.uploadSource(storage[0], { ...codes, shape: storage[0].shape })
    scope.queue.uploadSource(storage[1], { ...scales, shape: storage[1].shape })
    scope.queue.uploadSource(
      storage[2],
      sourceOf(storage[2].name, [1], () => [mean])
    )
    return storage
  },
  save: ([codes, nested, offset], path) => [
    [
      { name: `${path}.absmax`, dtype: "u8", shape: [codes!.byteLength], read: () => codes! },
      { name: `${path}.nested_absmax`, dtype: "f32", shape: [nested!.byteLength / 4], read: () => nested! },
      sourceOf(`${path}.nested_quant_map`, [map.length], () => map)
    ],
    { nested_blocksize: NESTED_BLOCK, nested_dtype: "float32", nested_offset: widen(offset!, "f32")[0]! }
  ],
  at: ([codes, nested, offset], index) =>
    f(f(map[codes![index]!]! * nested![Math.floor(index / NESTED_BLOCK)]!) + offset![0]!)
}
const isOurMap = ({ buffer, byteOffset, byteLength }: Uint8Array): boolean => {
  const view = new DataView(buffer, byteOffset, byteLength)
  return map.every((value, i) => view.getFloat32(4 * i, true) === value)
}

export const DoubleQuant: { readonly layer: Layer.Layer<ScaleCodec> } = {
  layer: Layer.effect(
    ScaleCodec,
    Effect.map(makePart("double quantization"), (part) => ({ part, format: doubleQuant }))
  )
}
