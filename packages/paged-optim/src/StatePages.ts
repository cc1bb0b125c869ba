/**
 * The pages of optimiser state on a queue: all in memory, or through frames under a byte budget with the rest in a spill file.
 * Who uses a page does not see which.
 */
import { fileURLToPath } from "node:url"
import { type PageTraffic, type Queue, Scope, type Tensor } from "@graft/core"
import { type Frames, frameOf, visits } from "./frames.ts"
import { fileBacking, PageStore } from "./PageStore.ts"
import {
  addStore,
  bringPage,
  COUNTS,
  clearState,
  openPages,
  PATH_BYTES,
  prefetchPage,
  removeStore,
  TOKEN_BYTES,
  takePageTraffic
} from "./pageKernels.ts"
import type { SpillFile, SpillFolder } from "./SpillFolder.ts"
import type { Page } from "./stateLayout.ts"

/** The native bodies of this package, where they were built. */
export const library = fileURLToPath(
  new URL(`../prebuilt/${process.platform}-${process.arch}/paged-optim.so`, import.meta.url)
)

export interface StatePages {
  /** Enqueues what it takes until `page` is there; the tensor is its memory until another page is used. */
  readonly use: (page: number, how: { readonly reads: boolean; readonly writes: boolean }) => Tensor
  /** All pages once, in the order of an update; `release` ends the use of one. */
  readonly order: ReadonlyArray<{ readonly page: number; readonly release: () => void }>
  /** What has moved since it was last asked, as of this point of the program. */
  readonly traffic?: () => Promise<PageTraffic>
}

export const residentPages = (queue: Queue, scope: Scope, pages: ReadonlyArray<Page>): StatePages => {
  const tensors = pages.map(({ bytes }, i) => {
    const t = scope.tensor([bytes], `optimiser state ${i}`, "u8", "optimizer")
    queue.enqueue(clearState, [t], null)
    return t
  })
  return { use: (page) => tensors[page]!, order: pages.map((_, page) => ({ page, release: () => {} })) }
}

export const spilledPages = (
  queue: Queue,
  scope: Scope,
  pages: number,
  frames: Frames,
  spill: SpillFolder
): StatePages => {
  const store = crypto.getRandomValues(new Uint32Array(1))[0]!
  const { pageBytes } = frames
  spill.requireRoom(pages * pageBytes) // of a plan too
  const memory = Array.from({ length: frames.frames }, (_, i) =>
    scope.tensor([pageBytes], `optimiser state, frame ${i}`, "u8", "pages")
  )
  const traffic = scope.tensor([8 * COUNTS.length], "page traffic", "u8", "optimizer")
  queue.upload(traffic, () => new Uint8Array(traffic.bytes))
  {
    using opening = new Scope(queue, "workspace")
    const place = opening.tensor([PATH_BYTES + TOKEN_BYTES], "spill file", "u8")
    // A plan never asks for the bytes: it makes no file.
    queue.upload(place, () => {
      const file = spill.create(pages * pageBytes, () => removeStore(store))
      addStore(store, new PageStore(fileBacking(file, pageBytes), frames.frames))
      return placeOf(file)
    })
    queue.enqueue(openPages, [place], { store, frames: frames.frames, pages, pageBytes })
  }
  return {
    use: (page, how) => {
      const frame = frameOf(frames, page)
      queue.enqueue(bringPage, [memory[frame]!], { store, frame, page, ...how })
      return memory[frame]!
    },
    order: visits(frames, pages).map(({ page, next }) => ({
      page,
      release: () => {
        const frame = frameOf(frames, page)
        if (next !== undefined) queue.enqueue(prefetchPage, [memory[frame]!], { store, frame, page: next })
      }
    })),
    traffic: async () => {
      queue.enqueue(takePageTraffic, [traffic], { store })
      return trafficOf(await queue.readBytes(traffic))
    }
  }
}
const placeOf = ({ path, token }: SpillFile): Uint8Array => {
  const bytes = new Uint8Array(PATH_BYTES + TOKEN_BYTES)
  const text = new TextEncoder().encode(path)
  if (text.length >= PATH_BYTES) throw new RangeError(`the path of the spill file has ${text.length} bytes: ${path}`)
  bytes.set(text)
  bytes.set(token, PATH_BYTES)
  return bytes
}
const trafficOf = (bytes: Uint8Array): PageTraffic => {
  const [faults, hits, bytesIn, bytesOut, stallSeconds] = new Float64Array(bytes.slice().buffer)
  return { faults: faults!, hits: hits!, bytesIn: bytesIn!, bytesOut: bytesOut!, stallSeconds: stallSeconds! }
}
