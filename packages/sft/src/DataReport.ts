/**
 * What was found in the data while it was prepared: counts, and what will likely spoil the training, with the rows. The
 * findings are those that fill the issue trackers of other trainers (formats.md §7).
 */
import { type Place, showPlace } from "./Place.ts"

export type FindingCode = keyof typeof sentences

/** An error ends the preparation unless it is allowed; a warning is likely a mistake; a note is good to know. */
export type Severity = "error" | "warning" | "note"

export interface Finding {
  readonly code: FindingCode
  readonly severity: Severity
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
  "end-never-learnt":
    "in none of them a token that ends generation is learnt, so that the model will not stop. Use a chat template that ends answers with EOS",
  "end-always-masked":
    "they hold the token that ends generation, and in none of them it is learnt: labels that were masked where the token is the " +
    "padding's, because both are the same one (pad = EOS), look so. Make the labels again with a padding token of its own, or leave " +
    "labels out and give prompt and completion",
  "nothing-supervised":
    "nothing in them is learnt, and they are left out. Look whether the answer is empty or lies beyond maxLength",
  truncated: "they are longer than maxLength, and their ends are cut off. Raise maxLength, or shorten them",
  "answer-cut": "an answer is cut off, so that its end is not learnt. Raise maxLength, or leave these rows out",
  "never-stops":
    "no token that ends generation is learnt, so that the model may not stop. Use a chat template that ends answers with EOS",
  "end-masked":
    "the token that ends generation follows what is learnt and is not learnt itself. Where padding and EOS are one token, labels get masked so",
  "conversation-as-text":
    "their text goes on after a token that ends generation, so that it is a whole conversation, and all of it is learnt, also what the " +
    "user says. Give messages instead, or name responsePart",
  "bos-twice": "they begin with BOS twice. Take it out of the data or of the template",
  "empty-turn": "a text, completion or turn in them is empty",
  "held-out-is-trained":
    "they are held out for evaluation and also trained on, so that the evaluation will look too good. Take them out of one",
  duplicate: "they are the same as an earlier row",
  "border-moved":
    "prompt and answer would join in one token, so they are encoded apart. Move the space from the prompt's end to the answer's beginning"
}

export const findingCodes = Object.keys(sentences) as ReadonlyArray<FindingCode> // keys of a literal

const severities: Readonly<Partial<Record<FindingCode, Severity>>> = {
  "end-never-learnt": "error",
  "end-always-masked": "error",
  "empty-turn": "note",
  duplicate: "note",
  "border-moved": "note",
  truncated: "note"
}
export const severityOf = (code: FindingCode): Severity => severities[code] ?? "warning"

/** Places of a finding. */
export const shown = 10

export class FindingsBuilder {
  readonly #found = new Map<FindingCode, { rows: number; readonly places: Array<Place> }>()
  note(code: FindingCode, place: Place): void {
    this.add(code, 1, [place])
  }
  /** `places` are the first of these rows. */
  add(code: FindingCode, rows: number, places: ReadonlyArray<Place>): void {
    const entry = this.#found.get(code) ?? { rows: 0, places: [] }
    this.#found.set(code, entry)
    entry.rows += rows
    entry.places.push(...places.slice(0, shown - entry.places.length))
  }
  /** What was found of each row, found of all of them: another finding. */
  promote(from: FindingCode, to: FindingCode): void {
    const entry = this.#found.get(from)
    if (entry === undefined) return
    this.#found.delete(from)
    this.#found.set(to, entry)
  }
  rowsOf(code: FindingCode): number {
    return this.#found.get(code)?.rows ?? 0
  }
  /** In the order of the list above. */
  build(): ReadonlyArray<Finding> {
    return findingCodes.flatMap((code) => {
      const entry = this.#found.get(code)
      if (entry === undefined) return []
      const where = entry.places.map(showPlace).join(", ") + (entry.rows > shown ? ", …" : "")
      const message = `${entry.rows} ${entry.rows === 1 ? "row" : "rows"}: ${sentences[code]} (${where})`
      return [{ code, severity: severityOf(code), rows: entry.rows, places: entry.places, message }]
    })
  }
}
