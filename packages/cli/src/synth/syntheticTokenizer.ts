/**
 * A tokenizer.json of any number of words for a model that has none: byte-level BPE over the 256 bytes, with made-up merges
 * of short words until the vocabulary is full. It reads and writes any text; its words mean nothing to anybody.
 */
const SPECIAL = ["<unk>", "<s>", "</s>"]

/** GPT-2's printable stand-ins for the bytes (openai/gpt-2, encoder.py, bytes_to_unicode). */
const byteSymbols = (): ReadonlyArray<string> => {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  let spare = 0
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : 256 + spare++))
}

export const syntheticTokenizer = (vocabularySize: number) => {
  const words = [...SPECIAL, ...byteSymbols()].slice(0, vocabularySize)
  const merges: Array<[string, string]> = []
  const letters = "etaoinshrdlucmfwypvbgkqjxz".split("")
  const space = "\u0120"
  // Pairs of letters, then each word made so far with one letter more: every merge has both its halves before it.
  const seen = new Set(words)
  const queue = [space, ...letters]
  for (let i = 0; i < queue.length && words.length < vocabularySize; i++) {
    const left = queue[i] ?? ""
    for (const letter of letters) {
      if (words.length >= vocabularySize) break
      const word = left + letter
      if (seen.has(word)) continue
      seen.add(word)
      words.push(word)
      merges.push([left, letter])
      queue.push(word)
    }
  }
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: SPECIAL.slice(0, vocabularySize).map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true
      })),
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(words.map((word, id) => [word, id])),
        merges
      }
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      unk_token: "<unk>",
      add_bos_token: false,
      model_max_length: 4096
    }
  }
}
