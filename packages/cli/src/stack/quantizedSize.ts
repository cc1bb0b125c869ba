/** How large a checkpoint in 4 bits will be, and whether the disk has room for it. */
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { bytesOf, type DType, type SourceTensor, sizeOf } from "@graft/core"
import type { CheckpointSource } from "@graft/nf4-quant"
import { requireSpace } from "@graft/safetensors"
import { Effect } from "effect"

export interface SizedFormat {
  readonly blockSize?: number | undefined
  readonly doubleQuant: boolean
  /** What the tensors that stay are written as; left out: as they are. */
  readonly dtype?: DType | undefined
}

/** Bytes of the linears as they lie, and of the checkpoint that is made; tables, names and texts apart. */
export const quantizedSize = (
  { tensors, linears, kept }: Pick<CheckpointSource, "tensors" | "linears" | "kept">,
  { blockSize = 64, doubleQuant: nested, dtype: target }: SizedFormat
) => {
  const sources = (names: ReadonlyArray<string>) => names.flatMap((name) => tensors.get(name) ?? [])
  const bytesIn = (list: ReadonlyArray<SourceTensor>, as?: DType) =>
    list.reduce((sum, { shape, dtype }) => sum + sizeOf(shape) * bytesOf[as ?? dtype], 0)
  const matrices = sources(linears.map((path) => `${path}.weight`))
  const weights = matrices.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const scales = (weights / blockSize) * (nested ? 1 + 4 / 256 : 4)
  return { dense: bytesIn(matrices), quantized: Math.ceil(weights / 2 + scales) + bytesIn(sources(kept), target) }
}

/** For tables and names, and for the weight that lies twice while the pieces are put together. */
const MARGIN = 1.05
const WORK = ".quantizing"

/** Asks the disk for a checkpoint of so many bytes in `folder`, of which an interrupted run may have made a part. */
export const requireQuantizedSpace = (folder: string, bytes: number, what: string, cure: string) =>
  Effect.gen(function* () {
    const there = yield* Effect.promise(async () => (await bytesUnder(folder)) + (await bytesUnder(join(folder, WORK))))
    yield* requireSpace([{ path: folder, bytes: Math.max(0, Math.ceil(MARGIN * bytes) - there), what }], cure)
  })

const bytesUnder = async (folder: string): Promise<number> => {
  const names = await readdir(folder).catch(() => [])
  const sizes = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)))
  return sizes.reduce((sum, found) => sum + (found?.isFile() ? found.size : 0), 0)
}
