/**
 * Memory of one size from which chunks of fewer rows are taken, so that how many rows there are changes nothing of the plan.
 * On a backend whose operands cannot be parts of buffers each chunk is a tensor of its own.
 */
import type { DType, Graph, Tensor } from "@graft/core"

export interface ChunkBuffer {
  /** [rows, width], until `give`. */
  readonly take: (rows: number) => Tensor
  readonly give: () => void
  readonly free: () => void
}
export const chunkBuffer = (
  g: Graph,
  mostRows: number,
  width: number,
  name: string,
  dtype: DType = g.activations
): ChunkBuffer => {
  if (!g.queue.limits.views) {
    let taken: Tensor | undefined
    const give = () => {
      if (taken !== undefined) g.release(taken)
      taken = undefined
    }
    const take = (rows: number): Tensor => {
      taken = g.tensor([rows, width], name, dtype)
      return taken
    }
    return { take, give, free: give }
  }
  const whole = g.tensor([mostRows, width], name, dtype)
  return { take: (rows) => whole.range(0, [rows, width], name), give: () => {}, free: () => g.release(whole) }
}
