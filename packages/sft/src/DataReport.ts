/**
 * What was found in the data while it was prepared: counts, and what will likely spoil the training, with the rows. The
 * findings are those that fill the issue trackers of other trainers (formats.md §7).
 */
import { type Place, showPlace } from "./Place.ts"

export type FindingCode = keyof typeof sentences

export interface Finding {
  readonly code: FindingCode
  /** How many rows. */
  readonly rows: number
  /** The first ten. */
  readonly places: ReadonlyArray<Place>
  /** A sentence with the count, the places and what to do. */
  readonly message: string
}

export interface DataReport {
  /** Rows read. */
  readonly rows: number
  /** Sequences kept of them, for training and for evaluation. */
  readonly trainSequences: number
  readonly evaluationSequences: number
  readonly tokens: number
  readonly supervisedTokens: number
  readonly longestTokens: number
  readonly findings: ReadonlyArray<Finding>
}

/** What is found, after "n rows: ". */
const sentences = {
  "nothing-supervised":
    "nothing in them is learnt, and they are left out. Look whether the answer is empty or lies beyond maxLength",
  truncated: "they are longer than maxLength, and their ends are cut off. Raise maxLength, or shorten them",
  "answer-cut": "an answer is cut off, so that its end is not learnt. Raise maxLength, or leave these rows out",
  "never-stops":
    "no token that ends generation is learnt, so that the model may not stop. Use a chat template that ends answers with EOS",
  "bos-twice": "they begin with BOS twice. Take it out of the data or of the template",
  "empty-turn": "a text, completion or turn in them is empty",
  "held-out-is-trained":
    "they are held out for evaluation and also trained on, so that the evaluation will look too good. Take them out of one",
  duplicate: "they are the same as an earlier row",
  "border-moved":
    "prompt and answer would join in one token, so they are encoded apart. Move the space from the prompt's end to the answer's beginning"
}

const shown = 10

export class FindingsBuilder {
  readonly #found = new Map<FindingCode, { rows: number; readonly places: Array<Place> }>()
  note(code: FindingCode, place: Place): void {
    const entry = this.#found.get(code) ?? { rows: 0, places: [] }
    this.#found.set(code, entry)
    entry.rows++
    if (entry.places.length < shown) entry.places.push(place)
  }
  rowsOf(code: FindingCode): number {
    return this.#found.get(code)?.rows ?? 0
  }
  /** In the order of the list above. */
  build(): ReadonlyArray<Finding> {
    return (Object.keys(sentences) as ReadonlyArray<FindingCode>).flatMap((code) => {
      // keys of a literal
      const entry = this.#found.get(code)
      if (entry === undefined) return []
      const where = entry.places.map(showPlace).join(", ") + (entry.rows > shown ? ", …" : "")
      const message = `${entry.rows} ${entry.rows === 1 ? "row" : "rows"}: ${sentences[code]} (${where})`
      return [{ code, rows: entry.rows, places: entry.places, message }]
    })
  }
}
