/** Optimisers whose state is a row of pages. The update of a page is one kernel for each of its parts (updateKernels.ts). */
import type { Kernel, MakeOptimizer, Queue, Range, StatePiece, TrainedRange } from "@graft/core"
import { framesFor } from "./frames.ts"
import type { SpillFolder } from "./SpillFolder.ts"
import { library, residentPages, type StatePages, spilledPages } from "./StatePages.ts"
import { layOut, type StateLayout } from "./stateLayout.ts"
import type { Bits, States } from "./stateRecord.ts"
import type { Place } from "./updateKernels.ts"

/** What an optimiser is besides its state: its kernels, and their parameters for a range. */
export interface UpdateRule<P> {
  readonly name: string
  /** The groups that have a learning rate of their own. */
  readonly groups: ReadonlyArray<string>
  readonly states: States
  readonly kernels: Readonly<Record<Bits, Kernel<P & Place>>>
  readonly params: (range: TrainedRange, learningRate: number) => P
}
export interface StateOptions {
  readonly bits: Bits
  /** Tensors with fewer elements have 32 bits. */
  readonly min8BitSize: number
  /** Memory for state, and where the rest goes; left out: all state stays in memory. */
  readonly paging?: { readonly residentBytes: number; readonly pageBytes: number; readonly spill: SpillFolder }
}

export const pagedOptimizer = <P>(rule: UpdateRule<P>, { bits, min8BitSize, paging }: StateOptions): MakeOptimizer => {
  if (paging !== undefined && paging.residentBytes < paging.pageBytes)
    throw new RangeError(`residentBytes is ${paging.residentBytes}, smaller than one page of ${paging.pageBytes}`)
  return (queue, scope, ranges) => {
    const known = [...new Set(ranges.map(({ group }) => group))]
    const unknown = rule.groups.filter((group) => !known.includes(group))
    if (unknown.length > 0)
      throw new RangeError(
        `${rule.name} has a learning rate for the group ${unknown.join(", ")}, but nothing of it is trained; there ${known.length === 1 ? "is" : "are"} ${known.join(", ")}`
      )
    queue.useLibrary(library)
    const { states, kernels } = rule
    const whole = layOut(ranges, { bits, states, min8BitSize })
    const spills = paging !== undefined && whole.bytes > paging.residentBytes
    const layout = spills ? layOut(ranges, { bits, states, min8BitSize, pageBytes: paging.pageBytes }) : whole
    const pages = spills
      ? spilledPages(queue, scope, layout.pages.length, framesFor(paging.residentBytes, paging.pageBytes), paging.spill)
      : residentPages(queue, scope, layout.pages)
    const { traffic } = pages
    return {
      pieces: piecesOf(queue, layout, pages, `${rule.name}, ${bits} bits, ${fingerprint(ranges, min8BitSize)}`),
      update: (control, learningRate) => {
        const params = ranges.map((range) => rule.params(range, learningRate))
        for (const { page, release } of pages.order) {
          const state = pages.use(page, { reads: true, writes: true })
          for (const { range, bits: width, ...place } of layout.pages[page]!.parts) {
            const { flat, gradients } = ranges[range]!
            queue.enqueue(kernels[width], [flat, state, gradients, control], { ...params[range]!, ...place })
          }
          release()
        }
      },
      ...(traffic === undefined ? {} : { traffic })
    }
  }
}

/** Whose state it is: a checkpoint of other parameters, or of another order of them, is refused by name. */
const fingerprint = (ranges: ReadonlyArray<Range>, min8BitSize: number): string => {
  const text = ranges.map(({ group, decays, parameters }) => [
    group,
    decays,
    parameters.map(({ path, length }) => [path, length])
  ])
  let hash = 0x811c9dc5 // FNV-1a
  for (const byte of new TextEncoder().encode(JSON.stringify([text, min8BitSize])))
    hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, "0")
}

/** Each reads and writes the pages that lie in it, one after the other. */
const piecesOf = (
  queue: Queue,
  { pieces, pages }: StateLayout,
  memory: StatePages,
  name: string
): ReadonlyArray<StatePiece> =>
  pieces.map(({ first, count, bytes }, i) => ({
    name: `${name}, ${i}`,
    bytes,
    read: async (whole = new Uint8Array(bytes)) => {
      const reads: Array<Promise<Uint8Array>> = []
      for (let page = first; page < first + count; page++) {
        const { from, bytes: ofPage } = pages[page]!
        const t = memory.use(page, { reads: true, writes: false })
        reads.push(queue.readBytes(t, whole.subarray(from, from + ofPage)))
      }
      await Promise.all(reads)
      return whole
    },
    write: (source) => {
      let given: Uint8Array | undefined
      for (let page = first; page < first + count; page++) {
        const t = memory.use(page, { reads: false, writes: true })
        queue.upload(t, () => {
          given ??= Uint8Array.from(source())
          const { from, bytes: ofPage } = pages[page]!
          if (given.length !== bytes)
            throw new RangeError(`${name}, ${i}: has ${bytes} bytes, got ${given.length}; it is of other parameters`)
          const frame = new Uint8Array(t.bytes)
          frame.set(given.subarray(from, from + ofPage))
          return frame
        })
      }
      return queue.idle()
    }
  }))
