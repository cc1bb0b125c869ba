import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { randomBelow } from "@graft/safetensors/mutateBytes"
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers"
import { byteLevelEncoder } from "./byteLevelEncoder.ts"

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"))
const tiny = read("../../../testing/fixtures/tiny-bpe/tokenizer.json")
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
})
