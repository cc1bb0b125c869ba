/**
 * How far a weight in 4 bits is from what it was made of: ‖W − Ŵ‖ / ‖W‖ of the whole and of the block where it is worst, with
 * Ŵ computed from the codes and scales as they are stored. In parts, so that no whole copy of either is in memory.
 */
import { type SourceTensor, sizeOf, widen } from "@graft/core"
import type { FourBitFormat, SavedWeight } from "./quantizeTensor.ts"
import { SLICE, slicesOf } from "./sliceOfSource.ts"

export interface WeightError {
  readonly relativeError: number
  /** The block whose own relative error is the largest, by the place of its first element. */
  readonly worstBlock: { readonly row: number; readonly column: number; readonly relativeError: number }
  readonly bitsPerParameter: number
}

const f = Math.fround
/** A block of zeros that stayed zeros has no error; one that did not has lost everything. */
const share = (error: number, size: number): number => (error === 0 ? 0 : Math.sqrt(error / size))

export const weightError = (
  source: SourceTensor,
  saved: SavedWeight,
  { codebook, scales, blockSize }: FourBitFormat
): WeightError => {
  const size = sizeOf(source.shape)
  const columns = source.shape[1] ?? 1
  const slice = slicesOf(source)
  let [error, norm, worst, place] = [0, 0, -1, 0]
  for (let first = 0; first < size; first += SLICE) {
    const count = Math.min(SLICE, size - first)
    const values = widen(slice(first, count).read(), source.dtype)
    const codes = saved.codes[first / SLICE]!
    for (let start = 0; start < count; start += blockSize) {
      const scale = scales.at(saved.scales, (first + start) / blockSize)
      let [ofBlock, normOfBlock] = [0, 0]
      for (let i = start; i < Math.min(count, start + blockSize); i++) {
        const byte = codes[i >> 1]!
        const off = values[i]! - f(codebook.values[i % 2 === 0 ? byte >> 4 : byte & 15]! * scale)
        ofBlock += off * off
        normOfBlock += values[i]! * values[i]!
      }
      error += ofBlock
      norm += normOfBlock
      const relative = share(ofBlock, normOfBlock)
      if (relative > worst) [worst, place] = [relative, first + start]
    }
  }
  return {
    relativeError: share(error, norm),
    worstBlock: { row: Math.floor(place / columns), column: place % columns, relativeError: Math.max(0, worst) },
    bitsPerParameter: (8 * saved.bytes) / size
  }
}
