/**
 * Where the state of each parameter lies: records (stateRecord.ts) end to end over all ranges, cut into pieces, and pieces
 * into pages. Pieces depend on the parameters alone, so that a checkpoint fits a run with another byte budget; pages are what
 * moves between memory and the spill file. Both end between records.
 */
import type { Range } from "@graft/core"
import { type Bits, BLOCK, recordBytes, runBytes, type States } from "./stateRecord.ts"

/** Consecutive parameters of one range with state of one width, in one page. */
export interface Part {
  /** Index of the range. */
  readonly range: number
  /** Elements of the range. */
  readonly start: number
  readonly count: number
  readonly bits: Bits
  /** Bytes from the beginning of the page. */
  readonly offset: number
}
export interface Page {
  readonly parts: ReadonlyArray<Part>
  /** Bytes from the beginning of its piece. */
  readonly from: number
  readonly bytes: number
}
export interface Piece {
  /** Indices of its pages: `first` … `first + count`. */
  readonly first: number
  readonly count: number
  readonly bytes: number
}
export interface StateLayout {
  readonly pages: ReadonlyArray<Page>
  readonly pieces: ReadonlyArray<Piece>
  /** Of all records. */
  readonly bytes: number
}

type Run = Omit<Part, "offset">

/** State in 8 bits is quantised tensor by tensor; small tensors keep 32 bits, as bitsandbytes' min_8bit_size has it. */
const runsOf = (ranges: ReadonlyArray<Range>, bits: Bits, min8BitSize: number): ReadonlyArray<Run> => {
  const runs: Array<Run> = []
  for (const [range, { parameters }] of ranges.entries()) {
    for (const { start, length } of parameters) {
      if (length === 0) continue
      const width = length < min8BitSize ? 32 : bits
      const last = runs.at(-1)
      // Blocks begin where tensors do, unless blocks of 256 come to the same.
      const joins = last?.range === range && last.bits === width && (width === 32 || last.count % BLOCK === 0)
      if (joins) runs[runs.length - 1] = { ...last, count: last.count + length }
      else runs.push({ range, start, count: length, bits: width })
    }
  }
  return runs
}

/** What records are read and written by; whole blocks are multiples of it. */
const aligned = (bytes: number): number => Math.ceil(bytes / 4) * 4

interface Stretch {
  readonly parts: ReadonlyArray<Part>
  readonly bytes: number
}
/** As many records as fit into `limit`, again and again. */
const cut = (runs: ReadonlyArray<Run>, states: States, limit: number): ReadonlyArray<Stretch> => {
  const stretches: Array<Stretch> = []
  let parts: Array<Part> = []
  let used = 0
  const close = () => {
    if (parts.length > 0) stretches.push({ parts, bytes: used })
    parts = []
    used = 0
  }
  for (const { range, start, count, bits } of runs) {
    for (let done = 0; done < count; ) {
      const offset = aligned(used)
      const room = limit - offset
      const blocks = Math.max(0, Math.floor(room / recordBytes(bits, states, BLOCK)))
      const taken = runBytes(bits, states, count - done) <= room ? count - done : blocks * BLOCK
      if (taken === 0) {
        if (used === 0) throw new RangeError(`internal: a record is larger than a page of ${limit} bytes`)
        close()
        continue
      }
      parts.push({ range, start: start + done, count: taken, bits, offset })
      used = offset + runBytes(bits, states, taken)
      done += taken
    }
  }
  close()
  return stretches
}

const SMALLEST_PIECE = 2 ** 22
const MOST_PIECES = 1024
/** A checkpoint has at most about a thousand pieces, of at least 4 MiB. */
const pieceBytes = (total: number): number => {
  let bytes = SMALLEST_PIECE
  while (bytes * MOST_PIECES < total) bytes *= 2
  return bytes
}

export interface LayoutOptions {
  readonly bits: Bits
  readonly states: States
  /** Smaller tensors have 32 bits. */
  readonly min8BitSize: number
  /** At most; left out: a page for each piece. */
  readonly pageBytes?: number
}
export const layOut = (
  ranges: ReadonlyArray<Range>,
  { bits, states, min8BitSize, pageBytes = Number.POSITIVE_INFINITY }: LayoutOptions
): StateLayout => {
  const runs = runsOf(ranges, bits, min8BitSize)
  const total = runs.reduce((sum, run) => aligned(sum) + runBytes(run.bits, states, run.count), 0)
  const pages: Array<Page> = []
  const pieces: Array<Piece> = []
  for (const piece of cut(runs, states, pieceBytes(total))) {
    const stretches = cut(piece.parts, states, pageBytes)
    pieces.push({ first: pages.length, count: stretches.length, bytes: piece.bytes })
    // Stretches lie end to end in the piece, but for the bytes that align.
    let from = 0
    for (const { parts, bytes } of stretches) {
      pages.push({ from, bytes, parts })
      from = aligned(from + bytes)
    }
  }
  return { pages, pieces, bytes: pieces.reduce((sum, piece) => sum + piece.bytes, 0) }
}
