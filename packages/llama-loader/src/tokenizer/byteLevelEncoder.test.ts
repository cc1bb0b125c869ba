import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { describe, test } from "node:test"
import { randomBelow } from "@graft/safetensors/mutateBytes"
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers"
import { byteLevelEncoder } from "./byteLevelEncoder.ts"

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"))
const tiny = read("../../../testing/fixtures/tiny-bpe/tokenizer.json")
const known: ReadonlyArray<string> = read("../../fixtures/strings.json")

/** Parts of texts that tokenizers cut in odd places. */
const parts = [
  ..."abcTHEthe 0123456789.,;:!?'\"()[]{}<>|/\\@#$%&*_-+=~^`",
  ..." \t\n\r\u00a0\u0085\u2003\u3000\ufeff\u200b\u200d\u0300\u0000",
  ..."äßéñøЖжλשع中文字日本語한글ไทย🙂👩‍👩‍👧🇩🇪½²Ⅷ٣",
  ..."e\u0301 a\u030a \ufb01 \u1e9b\u0323",
  ...[
    "'s",
    "'LL",
    " 're",
    "\r\n",
    "   ",
    "\n\n\n",
    "123456",
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<|im",
    "|>"
  ],
  ...["\ud83d", "\ude00", "http://", "don't", " x", "ing", "tion", "ſ", "K"]
]
const oddStrings = (count: number): ReadonlyArray<string> => {
  const below = randomBelow(5)
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + below(24) }, () => parts[below(parts.length)]).join("")
  )
}
const odd = [...known, ...oddStrings(10_000)]

const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const splitting = (expression: string) => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: expression }, behavior: "Isolated", invert: false },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false }
  ]
})
const { ["a"]: _, ...withoutA } = tiny.model.vocab
const variants: Readonly<Record<string, object>> = {
  "digits apart, then GPT-2's words": tiny,
  "Llama 3's words, and whole words first": {
    ...tiny,
    pre_tokenizer: splitting(llama3),
    model: { ...tiny.model, ignore_merges: true }
  },
  "an expression that leaves gaps": { ...tiny, pre_tokenizer: splitting("\\p{N}|[aeiou]+|\\s*") },
  "NFC first": { ...tiny, normalizer: { type: "NFC" } },
  "a byte that is no token": {
    ...tiny,
    model: {
      ...tiny.model,
      vocab: withoutA,
      merges: tiny.model.merges.filter((merge: string | ReadonlyArray<string>) => !/a/.test(String(merge)))
    }
  }
}

describe("ids are those of the library, for 10,000 odd strings (3,000 for what is rarer)", () => {
  for (const [name, json] of Object.entries(variants))
    test(name, () => {
      const fast = byteLevelEncoder(json)
      assert.ok(fast !== undefined, "this encoder does it")
      const library = new HuggingFaceTokenizer(json, {})
      for (const text of json === tiny ? odd : odd.slice(0, 3000))
        assert.deepEqual(
          fast(text),
          library.encode(text, { add_special_tokens: false }).ids.filter((id: number | undefined) => id !== undefined),
          JSON.stringify(text)
        )
    })
})

test("a long word, also one that never repeats", () => {
  const fast = byteLevelEncoder(tiny)!
  const library = new HuggingFaceTokenizer(tiny, {})
  const below = randomBelow(9)
  for (const length of [63, 64, 65, 200, 3000]) {
    const word = Array.from({ length }, () => "etaoinshr"[below(9)]).join("")
    assert.deepEqual(fast(word), library.encode(word, { add_special_tokens: false }).ids)
  }
  assert.equal(fast("a".repeat(200_000)).length > 0, true)
})

test("what it does not do it leaves to the library", () => {
  const other = (change: object) => byteLevelEncoder({ ...tiny, ...change })
  assert.equal(other({ normalizer: { type: "Lowercase" } }), undefined)
  assert.equal(other({ pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }), undefined)
  assert.equal(other({ pre_tokenizer: { type: "Metaspace" } }), undefined)
  assert.equal(other({ model: { ...tiny.model, unk_token: "<unk>" } }), undefined)
  assert.equal(other({ model: { ...tiny.model, end_of_word_suffix: "</w>" } }), undefined)
  assert.equal(other({ added_tokens: [{ id: 0, content: "<s>", lstrip: true }] }), undefined)
  assert.equal(
    other({ normalizer: { type: "NFC" }, added_tokens: [{ id: 0, content: "é", normalized: true }] }),
    undefined
  )
})
