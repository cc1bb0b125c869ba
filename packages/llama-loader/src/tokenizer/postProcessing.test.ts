import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers"
import { folderTokenizer } from "./folderTokenizer.ts"
import { tokensAround } from "./postProcessing.ts"

const file = new URL("../../../testing/fixtures/tiny-bpe/tokenizer.json", import.meta.url)
const sound = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>

const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
const text = { Sequence: { id: "A", type_id: 0 } }
const template = (...single: ReadonlyArray<object>) => ({
  type: "TemplateProcessing",
  single,
  pair: [text, { Sequence: { id: "B", type_id: 1 } }],
  special_tokens: {}
})
const byteLevel = { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true }
const sequence = (...processors: ReadonlyArray<object>) => ({ type: "Sequence", processors })
const [first, second] = (sound["added_tokens"] as ReadonlyArray<{ readonly content: string }>).map((t) => t.content)

const known = {
  none: null,
  "offsets alone": byteLevel,
  "one before": template(special(first!), text),
  "both sides": template(special(first!), text, special(second!)),
  "Llama 3's": sequence(byteLevel, template(special(first!), text))
}
const unknown = {
  "text twice": template(text, special(first!), text),
  "two templates": sequence(template(special(first!), text), template(text, special(second!))),
  "RoBERTa's": { type: "RobertaProcessing", sep: [second, 1], cls: [first, 0], trim_offsets: true }
}

for (const [name, processor] of Object.entries({ ...known, ...unknown }))
  test(`post_processor, ${name}: the tokens around a text are the library's`, () => {
    const json = { ...sound, post_processor: processor }
    const tokenizer = folderTokenizer({ path: name, tokenizer: json, config: {}, specialTokensMap: {} })
    const library = new HuggingFaceTokenizer(json, {})
    for (const each of ["a", "hello there", `${first}x`])
      assert.deepEqual(tokenizer.encode(each, { addSpecial: true }), library.encode(each).ids, each)
  })

test("what is not known is told from what is", () => {
  assert.deepEqual(tokensAround(known["both sides"]), { before: [first], after: [second] })
  assert.deepEqual(tokensAround(known["Llama 3's"]), { before: [first], after: [] })
  for (const processor of Object.values(unknown)) assert.equal(tokensAround(processor), undefined)
})
