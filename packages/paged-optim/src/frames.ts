/**
 * Which page lies in which frame, settled before a run: the first pages are pinned to frames of their own, the others stream
 * through a ring of the remaining frames, each always through the same one. So every step is the same program, whatever was
 * dropped or read between, and what a step leaves in the ring is what the next begins with.
 */

export interface Frames {
  readonly pageBytes: number
  readonly frames: number
  /** Of them, those that stream. */
  readonly ring: number
}
/** Frames start at multiples of a memory page, and so do pages in the file. */
const UNIT = 4096
const LARGEST_PAGE = 2 ** 22
const LONGEST_RING = 8
/** Enough that some pages are read and written while another is in use. */
const WANTED_FRAMES = 16
/** Below it a step is made of too small pieces. */
const SMALLEST_PAGE = 2 ** 14
export const SMALLEST_BUDGET = 2 ** 16

export const pageBytesFor = (residentBytes: number): number => {
  const even = Math.floor(residentBytes / WANTED_FRAMES / UNIT) * UNIT
  return Math.min(LARGEST_PAGE, Math.max(SMALLEST_PAGE, even))
}
export const framesFor = (residentBytes: number, pageBytes: number): Frames => {
  const frames = Math.floor(residentBytes / pageBytes)
  return { pageBytes, frames, ring: Math.min(frames, Math.max(2, Math.min(LONGEST_RING, frames >> 2))) }
}
export const frameOf = ({ frames, ring }: Frames, page: number): number => {
  const pinned = frames - ring
  return page < pinned ? page : pinned + ((page - pinned) % ring)
}

/** What an update does with a page: afterwards its frame is for page `next`, if that is another. */
export interface Visit {
  readonly page: number
  readonly next: number | undefined
}
/** The pages in the order of an update: pinned ones spread among those that stream, so that there is time for these. */
export const visits = (frames: Frames, pages: number): ReadonlyArray<Visit> => {
  const pinned = Math.min(pages, frames.frames - frames.ring)
  const streamed = pages - pinned
  const order: Array<Visit> = []
  let done = 0
  for (let i = 0; i < streamed; i++) {
    const page = pinned + i
    // The last of a frame hands it back to the first.
    const next = i + frames.ring < streamed ? page + frames.ring : pinned + (i % frames.ring)
    order.push({ page, next: next === page ? undefined : next })
    for (; done < Math.floor(((i + 1) * pinned) / streamed); done++) order.push({ page: done, next: undefined })
  }
  for (; done < pinned; done++) order.push({ page: done, next: undefined })
  return order
}
