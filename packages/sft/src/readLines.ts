/**
 * The lines of a byte stream with their numbers, a chunk's worth at a time: memory holds a chunk and one line.
 * UTF-8 is checked; a byte order mark and carriage returns are dropped; empty lines are counted and left out.
 */
import { MalformedRow } from "./DataError.ts"

export interface Line {
  /** Counted from 1. */
  readonly number: number
  readonly text: string
}

/** Longer than any row that could be trained on, shorter than the longest string of any engine. */
const maxLineBytes = 256 * 1024 * 1024
const newline = 10

export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string
): AsyncGenerator<ReadonlyArray<Line>, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  let pending: Array<Uint8Array> = [] // the line begun, in the pieces in which it came
  let pendingBytes = 0
  let number = 0

  const finish = (rest: Uint8Array, into: Array<Line>): void => {
    number++
    const bytes = pending.length === 0 ? rest : join([...pending, rest], pendingBytes + rest.length)
    pending = []
    pendingBytes = 0
    let text: string
    try {
      text = decoder.decode(bytes)
    } catch {
      throw new MalformedRow({
        place: { file, unit: "line", number },
        problem: "the bytes are not UTF-8; save the file as UTF-8"
      })
    }
    if (number === 1 && text.startsWith("\uFEFF")) text = text.slice(1)
    if (text.endsWith("\r")) text = text.slice(0, -1)
    if (text.trim() !== "") into.push({ number, text })
  }

  for await (const chunk of chunks) {
    const lines: Array<Line> = []
    let from = 0
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      finish(chunk.subarray(from, at), lines)
      from = at + 1
    }
    if (from < chunk.length) {
      pending.push(chunk.slice(from))
      pendingBytes += chunk.length - from
      if (pendingBytes > maxLineBytes) {
        throw new MalformedRow({
          place: { file, unit: "line", number: number + 1 },
          problem: `the line is longer than ${maxLineBytes} bytes; wanted one row a line`
        })
      }
    }
    if (lines.length > 0) yield lines
  }
  if (pendingBytes > 0) {
    const lines: Array<Line> = []
    finish(new Uint8Array(0), lines)
    if (lines.length > 0) yield lines
  }
}

const join = (parts: ReadonlyArray<Uint8Array>, bytes: number): Uint8Array => {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
