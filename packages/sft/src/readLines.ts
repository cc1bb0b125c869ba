/**
 * The lines of a byte stream with their numbers, a block of whole lines at a time: memory holds a block and one line.
 * UTF-8 is checked; a byte order mark and carriage returns are dropped; empty lines are counted and left out.
 */
import { MalformedRow } from "./DataError.ts"

export interface Line {
  /** Counted from 1. */
  readonly number: number
  readonly text: string
}
/** Whole lines; the last one of a stream may lack its line end. The bytes are the block's own. */
export interface LineBlock {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** The number of its first line, counted from 1. */
  readonly first: number
}

/** Longer than any row that could be trained on, shorter than the longest string of any engine. */
const maxLineBytes = 256 * 1024 * 1024
const newline = 10

/** A block for each chunk in which a line ends: its lines cost a copy, and are not yet looked into. */
export async function* lineBlocks(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<LineBlock, void> {
  let pending: Array<Uint8Array> = [] // the line begun, in the pieces in which it came
  let pendingBytes = 0
  let first = 1
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(newline) + 1
    if (end > 0) {
      const bytes = join([...pending, chunk.subarray(0, end)], pendingBytes + end)
      yield { bytes, first }
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) first++
      pending = []
      pendingBytes = 0
    }
    if (end === chunk.length) continue
    pending.push(chunk.slice(end))
    pendingBytes += chunk.length - end
    if (pendingBytes > maxLineBytes) {
      throw new MalformedRow({
        place: { file, unit: "line", number: first },
        problem: `the line is longer than ${maxLineBytes} bytes; wanted one row a line`
      })
    }
  }
  if (pendingBytes > 0) yield { bytes: join(pending, pendingBytes), first }
}

export const linesOf = ({ bytes, first }: LineBlock, file: string): ReadonlyArray<Line> => {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  const lines: Array<Line> = []
  let number = first
  for (let from = 0; from < bytes.length; number++) {
    const at = bytes.indexOf(newline, from)
    const to = at < 0 ? bytes.length : at
    let text: string
    try {
      text = decoder.decode(bytes.subarray(from, to))
    } catch {
      throw new MalformedRow({
        place: { file, unit: "line", number },
        problem: "the bytes are not UTF-8; save the file as UTF-8"
      })
    }
    if (number === 1 && text.startsWith("\uFEFF")) text = text.slice(1)
    if (text.endsWith("\r")) text = text.slice(0, -1)
    if (text.trim() !== "") lines.push({ number, text })
    from = to + 1
  }
  return lines
}

export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<Line>, void> {
  for await (const block of lineBlocks(chunks, file)) {
    const lines = linesOf(block, file)
    if (lines.length > 0) yield lines
  }
}

const join = (parts: ReadonlyArray<Uint8Array>, bytes: number): Uint8Array<ArrayBuffer> => {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
