/**
 * Which scale an element gets. By the format blocks run across rows: element i of row r has scale ⌊(r·in + i) / block⌋
 * (bitsandbytes on CUDA, on AVX2 and in plain torch). Its AVX-512 path counts from each row's own start instead: scale
 * r·⌊in / block⌋ + ⌊i / block⌋ (csrc/cpu_ops.cpp, dequantizeBlockwise4bitCpu), where `in` is a multiple of 16 and blocks are
 * smaller than 2,048. Where rows hold no whole number of blocks, that is another W. What was computed on such a machine is
 * reproduced here by smaller blocks, which rows do hold, each with the scale that the rule picks: no kernel knows of it.
 */
import { type Kernel, type ScaleFormat, type Scope, sizeOf, type Tensor } from "@graft/core"
import { type BlockSize, blockSizes } from "./codebooks.ts"
import { FourBitError } from "./FourBitError.ts"

export const rowScaleRules = ["flat", "bitsandbytes-avx512"] as const
export type RowScales = (typeof rowScaleRules)[number]

/** The size of the smaller blocks, or undefined where both rules agree. @throws FourBitError where no legal size fits */
export const smallerBlock = (rule: RowScales, path: string, inner: number, block: BlockSize): BlockSize | undefined => {
  if (rule === "flat" || inner % block === 0 || inner % 16 !== 0 || block >= 2048) return undefined
  const size = blockSizes.filter((one) => inner % one === 0 && one < block).at(-1)
  if (size === undefined)
    throw new FourBitError({
      path,
      problem: `its rows of ${inner} hold no whole blocks of ${blockSizes[0]}, the smallest, so that bitsandbytes' AVX-512 rule cannot be followed; take flat row scales`
    })
  return size
}

interface ByRow {
  readonly in: number
  readonly block: number
  readonly smaller: number
}
const made = new WeakMap<ScaleFormat, Kernel<ByRow>>()

/** scales f32 [out · in / smaller] from a format's storage of ⌈out · in / block⌉ */
const byRow = (format: ScaleFormat): Kernel<ByRow> => {
  const kernel: Kernel<ByRow> = made.get(format) ?? {
    name: `${format.name}.byRow`,
    outputs: 1,
    fields: ["in", "block", "smaller"],
    check: (operands) => operands.length !== 1 + format.storageCount && "its storage is incomplete",
    reference: ([out, ...storage], { in: inner, block, smaller }) => {
      const ofRow = Math.floor(inner / block)
      for (let k = 0; k < out!.length; k++) {
        const element = k * smaller
        const row = Math.floor(element / inner)
        out![k] = format.at(storage, row * ofRow + Math.floor((element % inner) / block))
      }
    }
  }
  made.set(format, kernel)
  return kernel
}

/** The scales of the smaller blocks, plain, whatever the format is that they were kept in. */
export const scalesByRow = (
  format: ScaleFormat,
  storage: ReadonlyArray<Tensor>,
  scope: Scope,
  path: string,
  shape: readonly [out: number, inner: number],
  block: BlockSize,
  smaller: BlockSize
): Tensor => {
  const scales = scope.tensor([sizeOf(shape) / smaller], `${path} scales by row`, "f32", "weights")
  scope.queue.enqueue(byRow(format), [scales, ...storage], { in: shape[1], block, smaller })
  return scales
}
