/**
 * Cuts a conversation's text into what the assistant says, to be learnt, and the rest.
 *
 * Either the template marks it (`{% generation %}`), or it is found by comparing renderings. An answer begins where the text of
 * the turns before it ends, with the generation prompt: exactly where generation would begin. It ends where the text of the
 * turns up to it ends, less the white space after the mark that ends a turn, since nothing is generated after that mark.
 * Templates that rewrite earlier turns (they drop the reasoning of all but the last) break the second rule, and some the
 * first; there the answer is found by putting a mark in its place and looking where it comes out.
 */
import type { ChatTemplate, Message, Piece } from "./ChatTemplate.ts"

export interface Conversation {
  readonly messages: ReadonlyArray<Message>
  /** Only turns from here on are learnt: those before are a prompt. */
  readonly answersFrom: number
  readonly tools?: ReadonlyArray<unknown> | undefined
}

/** `last`: only the last answer is learnt. Throws an Error that says what in the conversation does not fit the template. */
export const supervisedPieces = (
  template: ChatTemplate,
  conversation: Conversation,
  which: "answers" | "last"
): ReadonlyArray<Piece> => {
  const { messages, tools } = conversation
  const answers = learntTurns(conversation, which)
  if (template.pieces !== undefined) {
    return markedPieces(template.pieces(messages, { addGenerationPrompt: false, tools }), messages, answers)
  }
  const render = (turns: ReadonlyArray<Message>, addGenerationPrompt: boolean) =>
    template.render(turns, { addGenerationPrompt, tools })
  const whole = render(messages, false)

  const pieces: Array<Piece> = []
  let done = 0
  for (const turn of answers) {
    const [start, end] = spanOf(render, messages, turn, whole)
    if (start < done) throw new RangeError(`turn ${turn + 1} could not be told apart from the turns before it`)
    if (start > done) pieces.push({ text: whole.slice(done, start), supervised: false })
    if (end > start) pieces.push({ text: whole.slice(start, end), supervised: true })
    done = end
  }
  if (done < whole.length) pieces.push({ text: whole.slice(done), supervised: false })
  return pieces
}

/** The assistant's turns, without those that the data itself excludes (`weight: 0` or `train: false` on a message). */
const learntTurns = ({ messages, answersFrom }: Conversation, which: "answers" | "last"): ReadonlyArray<number> => {
  const turns = messages.flatMap((message, i) =>
    i >= answersFrom && message.role === "assistant" && message["weight"] !== 0 && message["train"] !== false ? [i] : []
  )
  return which === "last" ? turns.slice(-1) : turns
}

const markedPieces = (
  pieces: ReadonlyArray<Piece>,
  messages: ReadonlyArray<Message>,
  learnt: ReadonlyArray<number>
): ReadonlyArray<Piece> => {
  const assistants = messages.flatMap((message, i) => (message.role === "assistant" ? [i] : []))
  if (learnt.length === assistants.length) return pieces
  const marked = pieces.filter((piece) => piece.supervised).length
  if (marked !== assistants.length) {
    throw new RangeError(
      `only some of the ${assistants.length} answers are to be learnt, and the template marks ${marked} stretches of text, ` +
        "so that it is not clear which. Learn all answers, or use a template that marks each"
    )
  }
  let answer = -1
  return pieces.map((piece) => {
    if (!piece.supervised) return piece
    answer++
    return { text: piece.text, supervised: learnt.includes(assistants[answer]!) }
  })
}

type Render = (turns: ReadonlyArray<Message>, addGenerationPrompt: boolean) => string

/** Where in `whole` the answer of one turn lies, as [start, end). */
const spanOf = (
  render: Render,
  messages: ReadonlyArray<Message>,
  turn: number,
  whole: string
): readonly [number, number] => {
  const prompt = attempt(() => render(messages.slice(0, turn), true))
  const upTo = turn === messages.length - 1 ? whole : attempt(() => render(messages.slice(0, turn + 1), false))
  if (prompt === undefined || !whole.startsWith(prompt)) return spanByMark(render, messages, turn, whole, undefined)
  const start = prompt.length
  if (upTo?.startsWith(prompt) === true) {
    const { content } = messages[turn]!
    const said = upTo.slice(start, start + endOfTurn(upTo.slice(start), content))
    // Where the template rewrites earlier turns it drops their beginning, the reasoning: what is left is an end of `said`
    // that still has the last letters of the answer.
    const furthest = Math.max(0, said.lastIndexOf(content.trim().slice(-3)))
    for (let cut = 0; cut <= furthest && cut < said.length; cut++) {
      const left = said.slice(cut)
      if (whole.startsWith(left, start)) return [start, start + left.length]
    }
  }
  return spanByMark(render, messages, turn, whole, start)
}

/** How much of a turn's text is the answer and the mark that ends it. Without such a mark the white space is all that ends it. */
const endOfTurn = (said: string, content: string): number => {
  const words = content.trim()
  const at = said.indexOf(words)
  const unmarked = words !== "" && at >= 0 && said.slice(at + words.length).trim() === ""
  return unmarked ? said.length : said.trimEnd().length
}

// A word that no template looks for; letters only, so that no filter of a template changes it.
const placeholder = "GraftPlaceholderZqxj"

const spanByMark = (
  render: Render,
  messages: ReadonlyArray<Message>,
  turn: number,
  whole: string,
  start: number | undefined
): readonly [number, number] => {
  const replaced = messages.map((message, i) => (i === turn ? { ...message, content: placeholder } : message))
  const [before, after] = around(render(replaced, false))
  if (
    before === undefined ||
    !whole.startsWith(before) ||
    !whole.endsWith(after) ||
    before.length + after.length > whole.length
  ) {
    throw new RangeError(
      `the text of turn ${turn + 1} (${messages[turn]!.role}) cannot be found in the rendered conversation. ` +
        "Use a template with {% generation %} marks, or learn the whole text"
    )
  }
  // The mark that ends the turn, as it stands when this turn is the last one.
  const [, tail] = around(attempt(() => render(replaced.slice(0, turn + 1), false)) ?? "")
  const ending = tail.trimEnd()
  const contentEnd = whole.length - after.length
  return [start ?? before.length, after.startsWith(ending) ? contentEnd + ending.length : contentEnd]
}

/** The text before and after the placeholder; no text before when it is not there exactly once. */
const around = (text: string): readonly [string | undefined, string] => {
  const parts = text.split(placeholder)
  return parts.length === 2 ? [parts[0]!, parts[1]!] : [undefined, ""]
}

/** Templates refuse some beginnings of a conversation (they want turns to alternate): then there is nothing to compare. */
const attempt = (render: () => string): string | undefined => {
  try {
    return render()
  } catch {
    return undefined
  }
}
