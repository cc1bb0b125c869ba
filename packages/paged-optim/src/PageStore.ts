/**
 * Pages between the frames of a device and what is behind them: the obvious version, which moves a page when it is wanted.
 * A frame holds one page or none; a page that changed is written before its frame is given to another; a page that was never
 * written is zeros, whatever lies in the file. The native store (native/pageStore.h) does the same on threads of its own.
 */
import fs from "node:fs"
import type { PageTraffic } from "@graft/core"
import { HEADER_BYTES, reserve, type SpillFile, writeWhole } from "./SpillFolder.ts"

/** Where pages lie that have no frame. All are of one size. */
export interface Backing {
  /** Makes sure that there is room for `pages`. */
  readonly reserve: (pages: number) => void
  readonly read: (page: number, into: Uint8Array) => void
  readonly write: (page: number, from: Uint8Array) => void
}
export const fileBacking = ({ descriptor, path }: SpillFile, pageBytes: number): Backing => ({
  reserve: (pages) => reserve({ descriptor, path }, pages * pageBytes),
  read: (page, into) => {
    const position = HEADER_BYTES + page * pageBytes
    for (let done = 0; done < into.length; ) {
      const got = fs.readSync(descriptor, into, done, into.length - done, position + done)
      if (got === 0)
        throw new RangeError(`the spill file ${path} ends at byte ${position + done}: it was cut while the run used it`)
      done += got
    }
  },
  write: (page, from) => writeWhole(descriptor, from, HEADER_BYTES + page * pageBytes)
})
/** In the host's memory, for devices that have their own. */
export const memoryBacking = (): Backing => {
  const pages = new Map<number, Uint8Array>()
  return {
    reserve: () => {},
    read: (page, into) => into.set(pages.get(page)!),
    write: (page, from) => void pages.set(page, from.slice())
  }
}

const noTraffic: PageTraffic = { faults: 0, hits: 0, bytesIn: 0, bytesOut: 0, stallSeconds: 0 }

interface Frame {
  page: number | undefined
  changed: boolean
}
export class PageStore {
  readonly #backing: Backing
  readonly #frames: ReadonlyArray<Frame>
  readonly #written = new Set<number>()
  #traffic: { -readonly [K in keyof PageTraffic]: PageTraffic[K] } = { ...noTraffic }

  constructor(backing: Backing, frames: number) {
    this.#backing = backing
    this.#frames = Array.from({ length: frames }, () => ({ page: undefined, changed: false }))
  }
  /** What has moved since it was last asked. */
  takeTraffic(): PageTraffic {
    const moved = this.#traffic
    this.#traffic = { ...noTraffic }
    return moved
  }
  reserve(pages: number): void {
    this.#backing.reserve(pages)
  }
  /** Afterwards frame `index`, whose memory is `memory`, holds `page`, unless it will be overwritten whole. */
  bring(
    index: number,
    memory: Uint8Array,
    page: number,
    use: { readonly reads: boolean; readonly writes: boolean }
  ): void {
    const frame = this.#frames[index]!
    if (frame.page !== page) {
      const since = performance.now()
      if (frame.page !== undefined && frame.changed) {
        this.#backing.write(frame.page, memory)
        this.#written.add(frame.page)
        this.#traffic.bytesOut += memory.length
      }
      frame.page = undefined
      if (use.reads && this.#written.has(page)) {
        this.#backing.read(page, memory)
        this.#traffic.bytesIn += memory.length
      } else memory.fill(0)
      Object.assign(frame, { page, changed: false })
      this.#traffic.faults++
      this.#traffic.stallSeconds += (performance.now() - since) / 1000
    }
    if (use.writes) frame.changed = true
  }
}
