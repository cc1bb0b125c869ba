/**
 * A row as the trainer sees it: its text, what of it is learnt, and how many tokens that is. Neighbouring tokens of one kind
 * are decoded together, since one token is often not a whole character.
 */
import { type Place, showPlace } from "./Place.ts"
import { permutation } from "./permutation.ts"
import type { PreparedData } from "./prepareData.ts"
import type { Tokenizer } from "./Tokenizer.ts"

export interface PreviewRun {
  readonly text: string
  readonly ids: ReadonlyArray<number>
  /** Of each token by itself; a part of a character is U+FFFD. Empty without a tokenizer. */
  readonly texts: ReadonlyArray<string>
  readonly supervised: boolean
}

export interface RowPreview {
  readonly place: Place
  readonly tokens: number
  readonly supervisedTokens: number
  readonly runs: ReadonlyArray<PreviewRun>
}

/** Some of the rows in order, drawn by seed: all of them where there are no more. */
export const drawRows = (rows: number, count: number, seed: number): ReadonlyArray<number> =>
  Array.from(permutation(rows, seed, "preview").subarray(0, count)).sort((a, b) => a - b)

/** Without a tokenizer the text is the token ids. */
export const previewRow = (data: PreparedData, sample: number, tokenizer?: Tokenizer): RowPreview => {
  const { ids, supervised } = data.tokensOf(sample)
  const runs: Array<PreviewRun> = []
  for (let from = 0; from < ids.length; ) {
    let to = from + 1
    while (to < ids.length && supervised[to] === supervised[from]) to++
    const run = ids.slice(from, to)
    const texts = tokenizer === undefined ? [] : run.map((id) => tokenizer.decode([id]))
    runs.push({ text: tokenizer?.decode(run) ?? run.join(" "), ids: run, texts, supervised: supervised[from]! })
    from = to
  }
  return { place: data.placeOf(sample), tokens: ids.length, supervisedTokens: supervised.filter(Boolean).length, runs }
}

const learnt = (text: string) => `\x1b[32m${text}\x1b[0m`
const given = (text: string) => `\x1b[2m${text}\x1b[0m`

export interface ShowOptions {
  /** What is learnt is green, the rest faint. Without colour, what is learnt stands in ⟦ ⟧. */
  readonly colour: boolean
  /** A line a token: its place, its id, `+` where it is learnt, its text. */
  readonly tokens?: boolean | undefined
}

/** For a terminal. */
export const showPreview = (preview: RowPreview, { colour, tokens = false }: ShowOptions): string => {
  const head = `${showPlace(preview.place)}: ${preview.tokens} tokens, ${preview.supervisedTokens} learnt`
  return `${head}\n${tokens ? tokenLines(preview, colour) : runText(preview, colour)}`
}

const runText = ({ runs }: RowPreview, colour: boolean): string =>
  runs
    .map(({ text: raw, supervised }) => {
      const text = visible(raw)
      return colour ? (supervised ? learnt(text) : given(text)) : supervised ? `⟦${text}⟧` : text
    })
    .join("")

const tokenLines = ({ runs }: RowPreview, colour: boolean): string => {
  const width = Math.max(...runs.flatMap(({ ids }) => ids.map((id) => String(id).length)))
  let place = 0
  return runs
    .flatMap(({ ids, texts, supervised }) =>
      ids.map((id, i) => {
        const text = texts[i] === undefined ? "" : `  ${JSON.stringify(texts[i])}`
        const line = `${String(place++).padStart(6)}  ${String(id).padStart(width)} ${supervised ? "+" : " "}${text}`
        return colour ? (supervised ? learnt(line) : given(line)) : line
      })
    )
    .join("\n")
}

/** Data may hold what a terminal obeys: control characters stand as their pictures (U+2400 …), but for line ends and tabs. */
const visible = (text: string): string =>
  text.replace(/\p{Cc}/gu, (char) => {
    const code = char.charCodeAt(0)
    if (char === "\n" || char === "\t") return char
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd"
  })
