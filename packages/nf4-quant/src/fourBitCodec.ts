/**
 * 4-bit weights as frozen linear operators. The storage is bitsandbytes': packed codes, then what the scale format keeps. A
 * row is dequantised where it is used (natively while GEMM packs it); no dequantised copy of W exists.
 */
import {
  type Codec,
  matrixShape,
  PanelWeight,
  type ScaleFormat,
  Scope,
  type SourceTensor,
  type View,
  type WeightKernels,
  weightKernels
} from "@graft/core"
import { type Adopted, adoptFourBit } from "./bitsandbytes.ts"
import type { BlockSize, Codebook } from "./codebooks.ts"
import { fourBitLibrary } from "./fourBitLibrary.ts"
import { plainScales } from "./plainScales.ts"
import { nameTensor, quantizeKernels } from "./quantize4bit.ts"
import { type RowScales, scalesByRow, smallerBlock } from "./rowScales.ts"

const f = Math.fround

/** W[row, i] = codebook[code] · scale of the element's block; blocks run across rows. */
const fillRow =
  ({ values }: Codebook, scales: ScaleFormat, block: BlockSize) =>
  (panel: Float32Array, [packed, ...rest]: ReadonlyArray<View>, row: number, n: number): void => {
    let scale = 0
    let last = -1
    for (let i = 0; i < n; i++) {
      const e = row * n + i
      const index = Math.floor(e / block)
      if (index !== last) {
        scale = scales.at(rest, index)
        last = index
      }
      const byte = packed![e >> 1]!
      panel[i] = f(values[e % 2 === 0 ? byte >> 4 : byte & 15]! * scale)
    }
  }

/** Kernels are made once for a scale format, a code book and a block size. */
const made = new WeakMap<ScaleFormat, Map<string, WeightKernels>>()
const kernelsOf = (codebook: Codebook, scales: ScaleFormat, block: BlockSize): WeightKernels => {
  const ofFormat = made.get(scales) ?? new Map<string, WeightKernels>()
  made.set(scales, ofFormat)
  const key = `${codebook.name} ${block}`
  const kernels =
    ofFormat.get(key) ?? weightKernels(`${codebook.name}+${scales.name}`, fillRow(codebook, scales, block))
  ofFormat.set(key, kernels)
  return kernels
}

export const fourBitCodec = (
  codebook: Codebook,
  scales: ScaleFormat,
  block: BlockSize,
  rowScales: RowScales = "flat"
): Codec => {
  const weightOf = (scope: Scope, path: string, { packed, scaleStorage, out, inner, blockSize }: Adopted) => {
    const smaller = smallerBlock(rowScales, path, inner, blockSize)
    const [format, size, storage] =
      smaller === undefined
        ? [scales, blockSize, scaleStorage]
        : [plainScales, smaller, [scalesByRow(scales, scaleStorage, scope, path, [out, inner], blockSize, smaller)]]
    return new PanelWeight(scope.queue, codebook.name, kernelsOf(codebook, format, size), out, inner, [
      packed,
      ...storage
    ])
  }
  const passes = (path: string, inner: number, size: BlockSize): boolean =>
    smallerBlock(rowScales, path, inner, size) !== undefined
  return {
    name: codebook.name,
    encode: (source: SourceTensor, scope: Scope, path: string) => {
      const [out, inner] = matrixShape(source.shape, path)
      if (source.dtype !== "f32" && source.dtype !== "bf16" && source.dtype !== "f16") {
        throw new TypeError(`${path}: ${codebook.name} quantises f32, bf16 and f16, got ${source.dtype}`)
      }
      const n = out * inner
      scope.queue.useLibrary(fourBitLibrary)
      const packed = scope.tensor([Math.ceil(n / 2)], path, "u8", "weights")
      using temporary = new Scope(scope.queue, "workspace")
      const absmax = temporary.tensor([Math.ceil(n / block)], `${path} scales`)
      {
        using dense = new Scope(scope.queue, "workspace")
        const x = dense.tensor([n], `${path} (${source.dtype})`, source.dtype)
        scope.queue.uploadSource(x, source)
        const name = nameTensor(scope.queue, dense, path)
        scope.queue.enqueue(quantizeKernels[codebook.name], [packed, absmax, x, name], { block, columns: inner })
      }
      const scaleStorage = scales.encode(absmax, passes(path, inner, block) ? temporary : scope, path)
      return weightOf(scope, path, { packed, scaleStorage, out, inner, blockSize: block })
    },
    adopt: (file, path, scope) => {
      scope.queue.useLibrary(fourBitLibrary)
      using temporary = new Scope(scope.queue, "workspace")
      const found = adoptFourBit(file, path, codebook, scales, scope, (inner, size) =>
        passes(path, inner, size) ? temporary : scope
      )
      return found === undefined ? undefined : weightOf(scope, path, found)
    }
  }
}
