/**
 * One deterministic allocator for every backend: best fit, decided when an op is enqueued. A cell that is freed here may be
 * given out again at once, since the queue runs in order; so the same program has the same offsets on the meta backend and
 * on a real one, and its peak is known to the byte. A backend that may not bind one buffer twice in a dispatch (WebGPU)
 * asks for several arenas.
 */
export type Category =
  | "weights"
  | "adapters"
  | "gradients"
  | "optimizer"
  | "activations"
  | "workspace"
  | "pages"
  | "streamed"

/** An opaque piece of device memory. `written` is true once an enqueued op writes it: nobody may rely on zeroed memory. */
export interface Cell {
  readonly arena: number
  readonly offset: number
  readonly bytes: number
  readonly category: Category
  live: boolean
  written: boolean
}
interface Hole {
  offset: number
  bytes: number
}

export interface ArenaLayout {
  readonly alignment: number
  /** The largest single buffer that the device can bind. */
  readonly maxBufferBytes: number
  readonly arenas: number
  readonly arenaOf: (category: Category) => number
}

/** Best fit over one range of addresses. Holes lie by offset, never adjacent to one another nor to the top. */
class Arena {
  readonly capacity: number
  peak = 0
  #top = 0
  readonly #holes: Array<Hole> = []
  constructor(capacity: number) {
    this.capacity = capacity
  }
  take(bytes: number): number | undefined {
    let best: Hole | undefined
    for (const hole of this.#holes)
      if (hole.bytes >= bytes && (best === undefined || hole.bytes < best.bytes)) best = hole
    if (best !== undefined) {
      const { offset } = best
      best.offset += bytes
      best.bytes -= bytes
      if (best.bytes === 0) this.#holes.splice(this.#holes.indexOf(best), 1)
      return offset
    }
    const offset = this.#top
    if (offset + bytes > this.capacity) return undefined
    this.#top += bytes
    this.peak = Math.max(this.peak, this.#top)
    return offset
  }
  give(offset: number, bytes: number): void {
    const at = this.#holes.findIndex((h) => h.offset > offset)
    const index = at < 0 ? this.#holes.length : at
    this.#holes.splice(index, 0, { offset, bytes })
    for (const i of [index, index - 1]) {
      const hole = this.#holes[i]
      const next = this.#holes[i + 1]
      if (hole !== undefined && next !== undefined && hole.offset + hole.bytes === next.offset) {
        hole.bytes += next.bytes
        this.#holes.splice(i + 1, 1)
      }
    }
    const last = this.#holes.at(-1)
    if (last !== undefined && last.offset + last.bytes === this.#top) {
      this.#top = last.offset
      this.#holes.pop()
    }
  }
}

export class Allocator {
  readonly layout: ArenaLayout
  readonly live = new Map<Category, number>()
  /** Highest number of bytes ever live, by category; each category has its own moment. */
  readonly peakByCategory = new Map<Category, number>()
  /** What was live, by category, when the sum was highest. */
  atPeak: ReadonlyMap<Category, number> = new Map()
  #total = 0
  #highest = 0
  readonly #arenas: ReadonlyArray<Arena>

  constructor(capacities: ReadonlyArray<number>, layout: ArenaLayout) {
    this.layout = layout
    this.#arenas = capacities.map((capacity) => new Arena(capacity))
  }

  get liveBytes(): number {
    return this.#total
  }
  /** High-water mark of each arena, fragmentation included: what has to be reserved. */
  get peaks(): ReadonlyArray<number> {
    return this.#arenas.map((arena) => arena.peak)
  }

  allocate(wanted: number, category: Category): Cell {
    const { alignment, maxBufferBytes } = this.layout
    const bytes = Math.max(1, Math.ceil(wanted / alignment)) * alignment
    if (bytes > maxBufferBytes)
      throw new RangeError(
        `out of memory: ${category} wants one buffer of ${bytes} bytes, this device binds at most ${maxBufferBytes}; lower the batch or the length`
      )
    const index = this.layout.arenaOf(category)
    const arena = this.#arenas[index]
    if (arena === undefined)
      throw new RangeError(`internal: ${category} lies in arena ${index} of ${this.#arenas.length}`)
    const offset = arena.take(bytes)
    if (offset === undefined)
      throw new RangeError(
        `out of memory: ${category} wants ${bytes} bytes, the arena has ${arena.capacity} of which ${this.#total} are in use; plan again or lower the batch`
      )
    const live = (this.live.get(category) ?? 0) + bytes
    this.live.set(category, live)
    this.peakByCategory.set(category, Math.max(live, this.peakByCategory.get(category) ?? 0))
    this.#total += bytes
    if (this.#total > this.#highest) {
      this.#highest = this.#total
      this.atPeak = new Map(this.live)
    }
    return { arena: index, offset, bytes, category, live: true, written: false }
  }

  free(cell: Cell): void {
    if (!cell.live) throw new ReferenceError(`internal: a ${cell.category} cell of ${cell.bytes} bytes is freed twice`)
    cell.live = false
    this.live.set(cell.category, (this.live.get(cell.category) ?? 0) - cell.bytes)
    this.#total -= cell.bytes
    this.#arenas[cell.arena]?.give(cell.offset, cell.bytes)
  }
}
