/** A meta queue that keeps who writes and who reads what, and so knows the work that nobody reads. */
import { type Cell, type Command, MetaQueue, type Operand, type Tensor } from "@graft/core"

interface Region {
  readonly cell: Cell
  readonly begin: number
  readonly end: number
  readonly name: string
}
interface Done {
  /** The op and its kernel. */
  readonly by: string
  readonly writes: ReadonlyArray<Region>
  readonly reads: ReadonlyArray<Region>
}
interface Unread {
  /** Of commands that nobody needed. */
  readonly work: ReadonlyArray<string>
  /** Of commands of which another output is read. */
  readonly byProducts: ReadonlyArray<string>
}
const regionOf = ({ cell, byteOffset, tensor }: Operand): Region => ({
  ...{ cell, begin: byteOffset, end: byteOffset + tensor.bytes, name: tensor.name }
})

export class ReadingQueue extends MetaQueue {
  readonly #done: Array<Done> = []
  protected override submit(command: Command): void {
    super.submit(command)
    const { kernel, operands, params } = command
    const regions = operands.map(regionOf)
    const accumulate = (params as { accumulate?: boolean } | null)?.accumulate === true // as Queue asks
    this.#done.push({
      by: `${this.origin}: ${kernel.name}`,
      writes: regions.slice(0, kernel.outputs),
      reads: regions.filter((_, i) => i >= kernel.outputs || accumulate || kernel.inPlace?.includes(i) === true)
    })
  }
  /**
   * What was written and is read by nobody who is read himself, each as `rope backward: rope → d(k)`, in order. Read in the end
   * is all that still has memory, and `results`. A cell is one tensor's, so memory that is used again confuses nothing; rows of
   * a tensor are not told apart.
   */
  unread(results: ReadonlyArray<Tensor>): Unread {
    const read = new Map<Cell, Array<Region>>()
    const want = (region: Region) => read.set(region.cell, [...(read.get(region.cell) ?? []), region])
    for (const { cell, name } of results)
      if (cell !== undefined) want({ cell, begin: 0, end: Number.POSITIVE_INFINITY, name })
    const isRead = ({ cell, begin, end }: Region) =>
      cell.live || read.get(cell)?.some((one) => one.begin < end && begin < one.end) === true
    const [work, byProducts]: [Array<string>, Array<string>] = [[], []]
    for (const { by, writes, reads } of this.#done.toReversed()) {
      const unread = writes.filter((one) => !isRead(one))
      const idle = unread.length === writes.length
      if (!idle) for (const one of reads) want(one)
      const into = idle ? work : byProducts
      for (const { name } of unread.toReversed()) into.push(`${by} → ${name}`)
    }
    return { work: work.reverse(), byProducts: byProducts.reverse() }
  }
}
