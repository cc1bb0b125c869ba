/**
 * A tokenizer for tests: words with the space before them, and special tokens as themselves, numbered as they are first
 * seen. `dummySpace` puts a space before every text, as SentencePiece models do.
 */
import type { Tokenizer } from "./Tokenizer.ts"

export interface FakeTokenizer extends Tokenizer {
  /** The texts of tokens, for assertions that a reader can check. */
  readonly texts: (ids: Iterable<number>) => ReadonlyArray<string>
}

const specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]

export const fakeTokenizer = (
  options: {
    readonly bos?: string
    readonly eos?: string
    readonly addsBos?: boolean
    readonly addsEos?: boolean
    readonly dummySpace?: boolean
  } = {}
): FakeTokenizer => {
  const { bos = "<s>", eos = "</s>", addsBos = true, addsEos = false, dummySpace = false } = options
  const known = [...specials]
  const idOf = (text: string): number => {
    if (!known.includes(text)) known.push(text)
    return known.indexOf(text)
  }
  const split = new RegExp(
    `${specials.map((s) => s.replaceAll("|", "\\|")).join("|")}| ?[\\p{L}\\d]+| ?[^\\s\\p{L}\\d]|\\n+|\\s`,
    "gu"
  )
  return {
    encode: (text, { addSpecial }) => {
      const words = (dummySpace && text !== "" && !text.startsWith("<s>") ? ` ${text}` : text).match(split) ?? []
      return [
        ...(addSpecial && addsBos ? [idOf(bos)] : []),
        ...words.map(idOf),
        ...(addSpecial && addsEos ? [idOf(eos)] : [])
      ]
    },
    decode: (ids) => ids.map((id) => known[id]).join(""),
    texts: (ids) => Array.from(ids, (id) => known[id]!),
    bosId: idOf(bos),
    eosId: idOf(eos)
  }
}
