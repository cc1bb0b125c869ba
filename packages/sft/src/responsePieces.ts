/**
 * Text that is a rendered conversation already, cut by the texts that open an answer and a question: what follows `from` is
 * learnt, up to the next `to` (the two parts that Unsloth's train_on_responses_only takes).
 */
import type { Piece } from "./ChatTemplate.ts"

export interface Responses {
  /** What stands before each answer, `"<|im_start|>assistant\n"`. */
  readonly from: string
  /** What stands before each question; left out, an answer goes to the end of the text. */
  readonly to?: string | undefined
}

export const responsePieces = (text: string, { from, to }: Responses): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  let done = 0
  for (let at = text.indexOf(from); at >= 0; at = text.indexOf(from, done)) {
    const start = at + from.length
    const next = to === undefined ? -1 : text.indexOf(to, start)
    const end = next < 0 ? text.length : next
    pieces.push(
      { text: text.slice(done, start), supervised: false },
      { text: text.slice(start, end), supervised: true }
    )
    done = end
  }
  pieces.push({ text: text.slice(done), supervised: false })
  return pieces.filter((piece) => piece.text !== "")
}
