/**
 * A proof that a quantiser needs nothing of core's inside: 8-bit weights in blocks of 32 along a row, scaled by the largest
 * of each, as a panel source; and two formats of the scales, which the quantiser does not know.
 */
import {
  type Codec,
  denseCodec,
  type Kernel,
  makePart,
  matrixShape,
  PanelWeight,
  ScaleCodec,
  type ScaleFormat,
  Scope,
  WeightCodec,
  weightKernels
} from "@graft/core"
import { Effect, Layer } from "effect"

const BLOCK = 32
const blocksOf = (columns: number): number => Math.ceil(columns / BLOCK)

/** codes i8 [out, in] and scales f32 [out · blocks] of w f32 [out, in]: w ≈ code · scale. */
const quantise: Kernel<{ readonly columns: number }> = {
  name: "int8.quantise",
  outputs: 2,
  fields: ["columns"],
  check: ([codes, scales, w]) =>
    (codes!.size !== w!.size || scales!.size !== w!.rows * blocksOf(w!.columns)) && "sizes differ",
  reference: ([codes, scales, w], { columns }) => {
    const blocks = blocksOf(columns)
    for (let b = 0; b < scales!.length; b++) {
      const row = Math.floor(b / blocks)
      const first = row * columns + (b % blocks) * BLOCK
      const end = Math.min(first + BLOCK, (row + 1) * columns)
      let most = 0
      for (let i = first; i < end; i++) most = Math.max(most, Math.abs(w![i]!))
      scales![b] = most / 127
      for (let i = first; i < end; i++) codes![i] = most === 0 ? 0 : Math.round((w![i]! * 127) / most)
    }
  }
}

export const int8Codec = (scales: ScaleFormat): Codec => {
  const name = `int8 (${scales.name})`
  const kernels = weightKernels(name, (panel, [codes, ...stored], row, columns) => {
    for (let i = 0; i < columns; i++) {
      const scale = scales.at(stored, row * blocksOf(columns) + Math.floor(i / BLOCK))
      panel[i] = codes![row * columns + i]! * scale
    }
  })
  return {
    name,
    encode: (source, scope, path) => {
      const { queue } = scope
      const [out, columns] = matrixShape(source.shape, path)
      const codes = scope.tensor([out, columns], `${path} codes`, "i8", "weights")
      using temporary = new Scope(queue, "workspace")
      const [dense] = denseCodec("f32").encode(source, temporary, path).storage
      const plain = temporary.tensor([out * blocksOf(columns)], `${path} scales`)
      queue.enqueue(quantise, [codes, plain, dense!], { columns })
      temporary.free(dense!) // or it would lie beside the encoded scales
      return new PanelWeight(queue, name, kernels, out, columns, [codes, ...scales.encode(plain, scope, path)])
    }
  }
}

/** Scales as they are. */
export const f32Scales: ScaleFormat = {
  name: "f32 scales",
  storageCount: 1,
  encode: (scales, scope, path) => {
    const kept = scope.tensor(scales.shape, `${path} scales`, "f32", "weights")
    scope.queue.enqueue(keep, [kept, scales], null)
    return [kept]
  },
  at: ([scales], index) => scales![index]!
}
const keep: Kernel<null> = {
  name: "int8.keepScales",
  outputs: 1,
  fields: [],
  reference: ([out, scales]) => {
    for (let i = 0; i < out!.length; i++) out![i] = scales![i]!
  }
}

const GROUP = 64
/** Scales in 8 bits, with the largest of each 64. */
export const u8Scales: ScaleFormat = {
  name: "u8 scales",
  storageCount: 2,
  encode: (scales, scope, path) => {
    const codes = scope.tensor(scales.shape, `${path} scale codes`, "u8", "weights")
    const most = scope.tensor([Math.ceil(scales.size / GROUP)], `${path} largest scales`, "f32", "weights")
    scope.queue.enqueue(quantiseScales, [codes, most, scales], null)
    return [codes, most]
  },
  at: ([codes, most], index) => (codes![index]! * most![Math.floor(index / GROUP)]!) / 255
}
const quantiseScales: Kernel<null> = {
  name: "int8.quantiseScales",
  outputs: 2,
  fields: [],
  reference: ([codes, most, scales]) => {
    for (let g = 0; g < most!.length; g++) {
      const end = Math.min((g + 1) * GROUP, scales!.length)
      let largest = 0
      for (let i = g * GROUP; i < end; i++) largest = Math.max(largest, scales![i]!)
      most![g] = largest
      for (let i = g * GROUP; i < end; i++) codes![i] = largest === 0 ? 0 : Math.round((scales![i]! * 255) / largest)
    }
  }
}

export const Int8 = {
  layer: Layer.effect(
    WeightCodec,
    Effect.gen(function* () {
      const below = yield* ScaleCodec
      return { part: yield* makePart("int8 weights", below), codec: int8Codec(below.format) }
    })
  )
}
export const Scales = {
  layer: (format: ScaleFormat): Layer.Layer<ScaleCodec> =>
    Layer.effect(
      ScaleCodec,
      Effect.map(makePart(format.name), (part) => ({ part, format }))
    )
}
