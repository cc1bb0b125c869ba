/** A text of a model for tests with threads: it numbers letters by themselves, so that every thread numbers them alike. */
import type { TextOfModel } from "./Sft.ts"
import { namedTemplate } from "./templates.ts"

const textWith = (change: (text: string) => string): TextOfModel => ({
  tokenizer: {
    encode: (text) => Array.from(change(text), (letter) => 2 + (letter.codePointAt(0)! % 500)),
    decode: (ids) => String.fromCodePoint(...ids.map((id) => id - 2)),
    bosId: 0,
    eosId: 1
  },
  chatTemplate: namedTemplate("chatml"),
  stopIds: [1]
})
export const letters = textWith((text) => text)
/** What another thread calls (encodingPool.ts). */
export const textOfModel = (argument: unknown): Promise<TextOfModel> => {
  if (argument === "letters") return Promise.resolve(letters)
  // Another text than this thread's: what no model should be, and how a test sees who tokenised.
  if (argument === "capitals") return Promise.resolve(textWith((text) => text.toUpperCase()))
  return Promise.reject(new TypeError(`no text of ${String(argument)}`))
}
