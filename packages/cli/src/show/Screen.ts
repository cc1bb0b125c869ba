/**
 * Where a verb speaks. For people: lines, and on a terminal one live line below them. For machines (`--json`): one JSON
 * object a line. Both on standard output.
 */
import { paints, type Styles, styled } from "./styled.ts"

export interface Screen {
  readonly json: boolean
  /** Whether a line can be drawn over. */
  readonly terminal: boolean
  readonly style: Styles
  /** Whether `style` paints. */
  readonly colour: boolean
  /** For people only. */
  readonly say: (text: string) => void
  /** Draws over itself; for people at a terminal only. */
  readonly live: (text: string) => void
  /** For machines only. */
  readonly event: (event: Readonly<Record<string, unknown>>) => void
}

/** To the start of the line, and clear to its end. */
const CLEAR = "\r\x1b[K"

export const makeScreen = (json: boolean, stream: NodeJS.WriteStream = process.stdout): Screen => {
  const terminal = !json && stream.isTTY === true && process.env.TERM !== "dumb"
  let drawn = false
  const wipe = () => {
    if (drawn) stream.write(CLEAR)
    drawn = false
  }
  return {
    json,
    terminal,
    style: styled(stream),
    colour: !json && paints(stream),
    say: (text) => {
      if (json) return
      wipe()
      stream.write(`${text}\n`)
    },
    live: (text) => {
      if (!terminal) return
      const width = stream.columns > 0 ? stream.columns - 1 : 79
      stream.write(CLEAR + text.slice(0, width))
      drawn = text !== ""
    },
    event: (event) => {
      if (json) stream.write(`${JSON.stringify(event)}\n`)
    }
  }
}
