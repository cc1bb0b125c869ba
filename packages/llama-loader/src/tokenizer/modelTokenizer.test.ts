import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { mutateBytes } from "@graft/safetensors/mutateBytes"
import { type ModelTokenizerFiles, modelTokenizer } from "./modelTokenizer.ts"
import { TokenizerError } from "./Tokenizer.ts"

const read = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../../fixtures/odd/${name}.model`, import.meta.url)))
const make = (name: string, change: Partial<ModelTokenizerFiles> = {}) =>
  modelTokenizer({
    path: `${name}.model`,
    model: change.model ?? read(name),
    config: undefined,
    addedTokens: undefined,
    specialTokensMap: undefined,
    ...change
  })
const bare = { addSpecial: false }

test("text comes back from its ids", () => {
  const tokenizer = make("llama")
  for (const text of ["Hello, world!", "  two  spaces ", "日本 🙂\n\ttab", "foo<|tool|>bar", "<s>[INST] hi [/INST]"])
    assert.equal(tokenizer.decode(tokenizer.encode(text, bare)), text)
  // The model's own map wrote the ligature out and took the doubled space away.
  const mapped = make("unigram")
  assert.equal(mapped.decode(mapped.encode(" the  ﬁle\t", bare)), "the file")
})

test("bos, eos and the dummy space follow tokenizer_config.json", () => {
  const plain = make("llama")
  const ids = plain.encode("Hello", bare)
  assert.deepEqual(plain.encode("Hello", { addSpecial: true }), [1, ...ids])
  const both = make("llama", {
    config: { add_bos_token: false, add_eos_token: true, bos_token: "<s>", eos_token: { content: "</s>" } }
  })
  assert.deepEqual(both.encode("Hello", { addSpecial: true }), [...ids, 2])
  assert.deepEqual(both.stopIds, [2])
  const legacy = make("llama", { config: { legacy: true } })
  assert.deepEqual(legacy.encode("<s>Hello", bare), [1, ...ids])
  assert.deepEqual(plain.encode("<s>Hello", bare), [
    1,
    ...make("llama", { config: { add_prefix_space: false } }).encode("Hello", bare)
  ])
})

test("added tokens stand after the pieces, and take white space along where they say so", () => {
  const count = make("llama").vocabularySize
  const tokenizer = make("llama", {
    addedTokens: { "<pad>": count, "<|user|>": count + 1 },
    config: { added_tokens_decoder: { [count + 1]: { content: "<|user|>", special: true, rstrip: true } } }
  })
  assert.equal(tokenizer.vocabularySize, count + 2)
  assert.deepEqual(tokenizer.encode("<pad><|user|>  \n<pad>", bare), [count, count + 1, count])
  assert.equal(tokenizer.specials.get("<|user|>"), count + 1)
  assert.equal(tokenizer.decode([count, count + 1], { skipSpecial: true }), "<pad>")
})

/** A message of pieces, after each other, with what trained it. */
const model = (pieces: ReadonlyArray<readonly [text: string, kind: number]>, trainer: ReadonlyArray<number> = []) => {
  const bytes = pieces.flatMap(([text, kind]) => {
    const utf8 = [...new TextEncoder().encode(text)]
    return [0x0a, utf8.length + 4, 0x0a, utf8.length, ...utf8, 0x18, kind]
  })
  return Uint8Array.from([...bytes, 0x12, trainer.length, ...trainer])
}

test("a file that cannot be used is a typed error that says why", () => {
  for (const [bytes, message] of [
    [new Uint8Array(0), /no pieces/],
    [new TextEncoder().encode("not a message"), /cannot be used/],
    [read("llama").subarray(0, 4000), /a field at byte \d+ says \d+ bytes, \d+ are left/],
    [model([["a", 1]]), /0 pieces for the unknown/],
    [
      model([
        ["a", 1],
        ["a", 2]
      ]),
      /two of its pieces are the same/
    ],
    [
      model([
        ["<unk>", 2],
        ["a", 5]
      ]),
      /marked unused/
    ],
    [
      model(
        [
          ["<unk>", 2],
          ["a", 1]
        ],
        [0x18, 3]
      ),
      /of the kind word; unigram and bpe/
    ],
    [
      model(
        [
          ["<unk>", 2],
          ["a", 1]
        ],
        [0x98, 0x02, 1]
      ),
      /0 pieces for bytes/
    ]
  ] as const)
    assert.throws(
      () => make("x", { model: bytes }),
      (error) => error instanceof TokenizerError && message.test(error.message),
      String(message)
    )
  assert.throws(() => make("llama", { addedTokens: { "<pad>": 1e9 } }), /"<pad>" has the id 1000000000/)
  assert.throws(() => make("llama", { config: { legacy: 3 } }), /tokenizer_config\.json/)
})

test("damaged tokenizer.model: it works or is a typed error", { timeout: 600_000 }, () => {
  const count = Number(process.env["GRAFT_MUTATIONS"] ?? 2000)
  const sound = ["unigram", "bpe-plain"].map(read)
  let worked = 0
  for (let seed = 1; seed <= count; seed++) {
    try {
      const tokenizer = make("damaged", { model: mutateBytes(sound[seed % 2]!, seed) })
      tokenizer.decode(tokenizer.encode("ab ﬁ <sep> é日\n", { addSpecial: true }))
      worked++
    } catch (error) {
      if (!(error instanceof TokenizerError)) throw new Error(`seed ${seed}`, { cause: error })
    }
  }
  assert.ok(worked > count / 20 && worked < count, `${worked} of ${count} worked`)
})
