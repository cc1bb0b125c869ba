/**
 * How text is cut into words before byte-level BPE, by GGUF's `tokenizer.ggml.pre`. The expressions are applied one after
 * the other, each within the pieces of the one before (llama.cpp, src/llama-vocab.cpp, llm_tokenizer_bpe). White space is
 * outside of every range of characters there, hence the look-ahead before one that spans some.
 */
export interface PreTokenizer {
  readonly expressions: ReadonlyArray<string>
  /** A word that is a token stays whole, whatever the merges say. */
  readonly ignoreMerges: boolean
  /** BOS goes first where the metadata doesn't say. */
  readonly addBos: boolean
}

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const LETTERS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
const SIGNS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
const LLAMA3 = `${CONTRACTIONS}|${LETTERS}|\\p{N}{1,3}|${SIGNS}|${SPACES}`
const QWEN2 = `${CONTRACTIONS}|${LETTERS}|\\p{N}|${SIGNS}|${SPACES}`
/** A word that begins with capitals and goes on in small letters, told apart for ASCII only. */
const UPPER = "(?:(?=\\p{L})[^a-z])"
const LOWER = "(?:(?=\\p{L})[^A-Z])"
const cased = (after: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${after}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${after}`
const SIGNS_OR_SLASH = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"

const words = (...expressions: ReadonlyArray<string>): PreTokenizer => ({
  expressions,
  ignoreMerges: false,
  addBos: false
})

const gpt2 = words(GPT2)
const digits = words("\\p{N}", GPT2)
const llama3: PreTokenizer = { expressions: [LLAMA3], ignoreMerges: true, addBos: true }
const qwen2 = words(QWEN2)

export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ["default", words("[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]")],
  ["gpt-2", gpt2],
  ["phi-2", gpt2],
  ["mpt", gpt2],
  ["olmo", gpt2],
  ["smollm", digits],
  ["starcoder", digits],
  ["refact", digits],
  ["command-r", digits],
  ["codeshell", digits],
  ["exaone", digits],
  ["minerva-7b", digits],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["llama-bpe", llama3],
  ["falcon3", llama3],
  ["pixtral", llama3],
  ["dbrx", words(LLAMA3)],
  ["smaug-bpe", words(LLAMA3)],
  ["qwen2", qwen2],
  ["stablelm2", qwen2],
  ["megrez", qwen2],
  ["deepseek-r1-qwen", qwen2],
  ["deepseek-coder", words("[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "(?:(?!\\s)[一-龥ࠀ-一가-퟿])+", "\\p{N}")],
  ["tekken", { expressions: [`${cased("")}|\\p{N}|${SIGNS_OR_SLASH}|${SPACES}`], ignoreMerges: true, addBos: true }],
  ["gpt-4o", words(`${cased(`${CONTRACTIONS}?`)}|\\p{N}{1,3}|${SIGNS_OR_SLASH}|${SPACES}`)],
  ["llama4", words(`${cased(`${CONTRACTIONS}?`)}|\\p{N}{1,3}|${SIGNS_OR_SLASH}|${SPACES}`)]
])
