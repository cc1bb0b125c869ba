/**
 * A row as the trainer sees it: its text, what of it is learnt, and how many tokens that is. Neighbouring tokens of one kind
 * are decoded together, since one token is often not a whole character.
 */
import { type Place, showPlace } from "./Place.ts"
import type { PreparedData } from "./prepareData.ts"
import type { Tokenizer } from "./Tokenizer.ts"

export interface PreviewRun {
  readonly text: string
  readonly ids: ReadonlyArray<number>
  readonly supervised: boolean
}

export interface RowPreview {
  readonly place: Place
  readonly tokens: number
  readonly supervisedTokens: number
  readonly runs: ReadonlyArray<PreviewRun>
}

/** Without a tokenizer the text is the token ids. */
export const previewRow = (data: PreparedData, sample: number, tokenizer?: Tokenizer): RowPreview => {
  const { ids, supervised } = data.tokensOf(sample)
  const runs: Array<PreviewRun> = []
  for (let from = 0; from < ids.length; ) {
    let to = from + 1
    while (to < ids.length && supervised[to] === supervised[from]) to++
    const run = ids.slice(from, to)
    runs.push({ text: tokenizer?.decode(run) ?? run.join(" "), ids: run, supervised: supervised[from]! })
    from = to
  }
  return { place: data.placeOf(sample), tokens: ids.length, supervisedTokens: supervised.filter(Boolean).length, runs }
}

const learnt = (text: string) => `\x1b[32m${text}\x1b[0m`
const given = (text: string) => `\x1b[2m${text}\x1b[0m`

/** For a terminal: what is learnt is green, the rest faint. Without colour, what is learnt stands in ⟦ ⟧. */
export const showPreview = (preview: RowPreview, colour: boolean): string => {
  const head = `${showPlace(preview.place)}: ${preview.tokens} tokens, ${preview.supervisedTokens} learnt`
  const text = preview.runs
    .map((run) =>
      colour ? (run.supervised ? learnt(run.text) : given(run.text)) : run.supervised ? `⟦${run.text}⟧` : run.text
    )
    .join("")
  return `${head}\n${text}`
}
