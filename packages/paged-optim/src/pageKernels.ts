/**
 * The program's side of paging: commands of the queue, so that what is in a frame is known from their order alone. A frame is
 * a tensor; `bring` makes it hold a page, and what follows may use it; `prefetch` says that it will be wanted. A backend with
 * native bodies moves pages between the two on threads of its own, others when `bring` runs. Between `prefetch` and `bring`
 * of a frame nothing else may touch it.
 */
import type { Kernel } from "@graft/core"
import type { PageStore } from "./PageStore.ts"

/** Names a store to kernels. */
type StoreId = number

const stores = new Map<StoreId, PageStore>()
/** For the bodies below: a native backend keeps its own by the same number. */
export const addStore = (id: StoreId, store: PageStore): void => void stores.set(id, store)
export const removeStore = (id: StoreId): void => void stores.delete(id)
const storeOf = (id: StoreId): PageStore => {
  const store = stores.get(id)
  if (store === undefined) throw new ReferenceError(`internal: there is no page store ${id}`)
  return store
}

/** Longer paths are refused by Linux too. */
export const PATH_BYTES = 4096
export const TOKEN_BYTES = 16

/**
 * Takes the room of all pages, before the first step. The operand is for native bodies: path (zero-terminated) and token of
 * the spill file; those below have theirs from `addStore`.
 */
export const openPages: Kernel<{
  readonly store: StoreId
  readonly frames: number
  readonly pages: number
  readonly pageBytes: number
}> = {
  name: "paged-optim.open",
  outputs: 0,
  fields: ["store", "frames", "pages", "pageBytes"],
  dtypes: ["u8"],
  reference: (_, { store, pages }) => storeOf(store).reserve(pages)
}
export const bringPage: Kernel<{
  readonly store: StoreId
  readonly frame: number
  readonly page: number
  /** Whether what the page held is wanted. */
  readonly reads: boolean
  /** Whether it will be changed. */
  readonly writes: boolean
}> = {
  name: "paged-optim.bring",
  outputs: 1,
  fields: ["store", "frame", "page", "reads", "writes"],
  dtypes: ["u8"],
  reference: ([frame], { store, ...use }) => storeOf(store).bring(use.frame, frame as Uint8Array, use.page, use) // by dtypes
}
export const prefetchPage: Kernel<{ readonly store: StoreId; readonly frame: number; readonly page: number }> = {
  name: "paged-optim.prefetch",
  outputs: 0,
  fields: ["store", "frame", "page"],
  dtypes: ["u8"],
  reference: () => {}
}
/** Numbers that `takePageTraffic` writes. */
export const COUNTS = ["faults", "hits", "bytesIn", "bytesOut", "stallSeconds"] as const
/** traffic f64 [5], as bytes: since it was last taken. No output: the flight recorder compares runs, and times differ. */
export const takePageTraffic: Kernel<{ readonly store: StoreId }> = {
  name: "paged-optim.traffic",
  outputs: 0,
  fields: ["store"],
  dtypes: ["u8"],
  check: ([traffic]) => traffic!.bytes !== 8 * COUNTS.length && `${traffic!.bytes} bytes`,
  reference: ([bytes], { store }) => {
    const moved = storeOf(store).takeTraffic()
    new Uint8Array(bytes!.buffer, bytes!.byteOffset, bytes!.byteLength).set(
      new Uint8Array(Float64Array.from(COUNTS, (name) => moved[name]).buffer)
    )
  }
}
/** State before the first step. */
export const clearState: Kernel<null> = {
  name: "paged-optim.clear",
  outputs: 1,
  fields: [],
  dtypes: ["u8"],
  reference: ([state]) => void state!.fill(0)
}
