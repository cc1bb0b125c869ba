/**
 * A GGUF's blocks as a frozen linear operator W [out, in]. The storage is the file's, u8 [out, bytes of a row]; a row is
 * dequantised where it is used (natively while GEMM packs it), and no dequantised copy of W exists.
 */
import { fileURLToPath } from "node:url"
import {
  type FillRow,
  matrixShape,
  PanelWeight,
  type Scope,
  type SourceTensor,
  type WeightKernels,
  weightKernels
} from "@graft/core"
import { type BlockFormat, blockFormats } from "@graft/gguf"

/** What every weight of this package calls its codec, whatever its format. */
export const CODEC = "gguf"

/** The native bodies of this package, where they were built. */
const library = fileURLToPath(new URL(`../prebuilt/${process.platform}-${process.arch}/gguf-quant.so`, import.meta.url))

const fillRow =
  ({ elements, bytes, block }: BlockFormat): FillRow =>
  (panel, [blocks], row, n) => {
    const { buffer, byteOffset } = blocks!
    const length = (n / elements) * bytes
    const view = new DataView(buffer, byteOffset + row * length, length)
    for (let at = 0, o = 0; o < n; at += bytes, o += elements) block(panel, o, view, at)
  }

/** A native backend finds its panel source by the format's name. */
const kernels: ReadonlyMap<string, WeightKernels> = new Map(
  [...blockFormats.values()].map((format) => [format.name, weightKernels(format.name, fillRow(format))])
)

/** The weight, if `source` has blocks of a known format. */
export const blockWeight = (source: SourceTensor, scope: Scope, path: string): PanelWeight | undefined => {
  const { blocks } = source
  const format = blockFormats.get(blocks?.format ?? "")
  if (blocks === undefined || format === undefined) return undefined
  const [out, inner] = matrixShape(source.shape, path)
  const bytesOfRow = (inner / format.elements) * format.bytes
  const [rows, columns] = blocks.source.shape
  if (!Number.isInteger(bytesOfRow) || rows !== out || columns !== bytesOfRow || blocks.source.dtype !== "u8") {
    throw new TypeError(
      `${path}: [${out}, ${inner}] in ${format.name} takes u8 [${out}, ${bytesOfRow}], got ${blocks.source.dtype} [${blocks.source.shape.join(", ")}]`
    )
  }
  scope.queue.useLibrary(library)
  const packed = scope.tensor([out, bytesOfRow], path, "u8", "weights")
  scope.queue.uploadSource(packed, blocks.source)
  return new PanelWeight(scope.queue, CODEC, kernels.get(format.name)!, out, inner, [packed])
}
