/**
 * Text from tokens as they are generated. A character may be spread over several tokens: what is incomplete is held back
 * until its last byte comes, so that no half character is ever shown.
 */
import type { Tokenizer } from "./Tokenizer.ts"

export class StreamDecoder {
  readonly #tokenizer: Tokenizer
  readonly #hidden: ReadonlySet<number>
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true })

  /** Special tokens are not shown unless `showSpecial`. */
  constructor(tokenizer: Tokenizer, options: { readonly showSpecial?: boolean } = {}) {
    this.#tokenizer = tokenizer
    this.#hidden = new Set(options.showSpecial === true ? [] : tokenizer.specials.values())
  }

  /** The characters that this token completes, perhaps none. */
  push(id: number): string {
    return this.#hidden.has(id) ? "" : this.#decoder.decode(this.#tokenizer.bytesOf(id), { stream: true })
  }

  /** What is left: U+FFFD if the text ended within a character. */
  end(): string {
    return this.#decoder.decode()
  }
}
