import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { type GgufFile, type GgufValue, parseGguf } from "@graft/gguf"
import { memorySource } from "@graft/safetensors"
import { randomBelow } from "@graft/safetensors/mutateBytes"
import { beside, testBeside } from "@graft/testing"
import { folderTokenizer } from "./folderTokenizer.ts"
import { ggufTokenizer } from "./ggufTokenizer.ts"
import { hashesOf, oddStrings } from "./oddStrings.ts"
import { preTokenizers } from "./preTokenizers.ts"
import { StreamDecoder } from "./StreamDecoder.ts"
import { type Tokenizer, TokenizerError } from "./Tokenizer.ts"

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const json = (path: string): unknown => JSON.parse(readFileSync(at(path), "utf8"))
const testing = "../../../testing/fixtures/"
const SMOLLM2 = "models/smollm2-135m-instruct-q4_1.gguf"
const smollm2 = beside(SMOLLM2)
const testReal = testBeside(SMOLLM2)

const opened = new Map<string, GgufFile>()
const gguf = (path: string, change: Readonly<Record<string, GgufValue>> = {}): Tokenizer => {
  const file = opened.get(path) ?? parseGguf(memorySource(path, readFileSync(resolve(import.meta.dirname, path))))
  opened.set(path, file)
  return ggufTokenizer({ ...file, metadata: new Map([...file.metadata, ...Object.entries(change)]) })!
}
const folder = (name: string): Tokenizer =>
  folderTokenizer({
    path: name,
    tokenizer: json(`${testing}${name}/tokenizer.json`),
    config: json(`${testing}${name}/tokenizer_config.json`),
    specialTokensMap: undefined
  })
const bare = { addSpecial: false }

const strings = json("../../fixtures/strings.json") as ReadonlyArray<string>
// Recorded by oracles/llama-cpp/tokens.ts with node-llama-cpp 3.22.1.
const reference = json("../../fixtures/llamaCppTokens.json") as Readonly<
  Record<string, ReadonlyArray<ReadonlyArray<number>>>
>

const vocabulary = (name: string): Tokenizer => {
  const rule = /^smollm2 as (.+)$/.exec(name)?.[1]
  if (rule !== undefined) return gguf(smollm2, { "tokenizer.ggml.pre": rule })
  if (name === "smollm2") return gguf(smollm2)
  if (name === "tiny-spm without prefix")
    return gguf(`${testing}tiny-spm/model.gguf`, { "tokenizer.ggml.add_space_prefix": false })
  return gguf(`${testing}${name}/model.gguf`)
}

const testOf = (name: string) => (name.startsWith("smollm2") ? testReal : test)
for (const [name, wanted] of Object.entries(reference)) {
  testOf(name)(`${name}: the ids of llama.cpp for ${strings.length} strings`, () => {
    const tokenizer = vocabulary(name)
    assert.equal(wanted.length, strings.length)
    strings.forEach((text, i) => {
      assert.deepEqual(tokenizer.encode(text, bare), wanted[i], JSON.stringify(text))
    })
  })
}

// As above, by hashes.
const odd = json("../../fixtures/odd/llamaCpp.json") as Readonly<Record<string, string>>
for (const [name, expected] of Object.entries(odd))
  testOf(name)(`${name}: the ids of llama.cpp for 10,000 odd strings`, { timeout: 60_000 }, () => {
    const tokenizer = vocabulary(name)
    const strings = oddStrings()
    const got = hashesOf((text) => tokenizer.encode(text, bare), strings)
    const want = new Uint32Array(Uint8Array.from(Buffer.from(expected, "base64")).buffer)
    const wrong = [...got.keys()].find((group) => got[group] !== want[group])
    assert.equal(wrong, undefined, JSON.stringify(strings.slice(10 * (wrong ?? 0), 10 * (wrong ?? 0) + 10)))
    assert.equal(want.length, 1000)
  })

const texts = (name: string) =>
  json(`${testing}${name}/texts.json`) as ReadonlyArray<{
    readonly text: string
    readonly ids: ReadonlyArray<number>
    readonly decoded: string
  }>

for (const name of ["tiny-bpe", "tiny-spm"])
  test(`${name}: folder and GGUF give the ids of the Python peer, and its text back`, () => {
    const both = [folder(name), gguf(`${testing}${name}/model.gguf`)]
    for (const { text, ids, decoded } of texts(name))
      for (const tokenizer of both) {
        assert.deepEqual(tokenizer.encode(text, bare), ids, JSON.stringify(text))
        assert.equal(tokenizer.decode(ids), decoded)
      }
    const [a, b] = both
    assert.equal(a!.vocabularySize, b!.vocabularySize)
    assert.equal(a!.bosId, b!.bosId)
    assert.equal(a!.eosId, b!.eosId)
    assert.deepEqual(a!.encode("Hello", { addSpecial: true }), b!.encode("Hello", { addSpecial: true }))
    for (let id = 0; id < a!.vocabularySize; id++) assert.deepEqual(a!.bytesOf(id), b!.bytesOf(id), `token ${id}`)
  })

testReal("bos goes before a text where the model wants it", () => {
  const spm = gguf(`${testing}tiny-spm/model.gguf`)
  assert.deepEqual(spm.encode("", { addSpecial: true }), [spm.bosId])
  assert.deepEqual(spm.encode("", bare), [])
  assert.equal(spm.encode("Hi", { addSpecial: true })[0], spm.bosId)
  const real = gguf(smollm2)
  assert.deepEqual(real.encode("Hi", { addSpecial: true }), real.encode("Hi", bare))
  const both = gguf(smollm2, { "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_eos_token": true })
  assert.deepEqual(both.encode("Hi", { addSpecial: true }), [1, ...both.encode("Hi", bare), 2])
})

testReal("text comes back from its ids, whole and as it streams", () => {
  for (const tokenizer of [gguf(smollm2), gguf(`${testing}tiny-spm/model.gguf`), gguf(`${testing}tiny-bpe/model.gguf`)])
    for (const text of strings) {
      // SentencePiece writes a space as U+2581, and puts one after each special token in a text.
      if (/▁|<s>|<unk>/.test(text)) continue
      const ids = tokenizer.encode(text, bare)
      assert.equal(tokenizer.decode(ids), text)
      const stream = new StreamDecoder(tokenizer, { showSpecial: true })
      const parts = ids.map((id) => stream.push(id))
      assert.equal((parts.join("") + stream.end()).trimStart(), text.trimStart())
      for (const part of parts)
        if (!text.includes("\ufffd")) assert.ok(!part.includes("\ufffd"), "half a character was shown")
    }
})

testReal("special tokens are hidden when asked, and a text cut within a character says so", () => {
  const tokenizer = gguf(smollm2)
  const ids = tokenizer.encode("<|im_start|>hello😀<|im_end|>", bare)
  assert.equal(tokenizer.decode(ids), "<|im_start|>hello😀<|im_end|>")
  assert.equal(tokenizer.decode(ids, { skipSpecial: true }), "hello😀")
  const stream = new StreamDecoder(tokenizer)
  const shown = ids
    .slice(0, -2)
    .map((id) => stream.push(id))
    .join("")
  assert.equal(shown, "hello")
  assert.equal(stream.end(), "\ufffd")
  assert.throws(() => tokenizer.decode([49_152]), /token 49152 is none of the 49152/)
  assert.deepEqual(tokenizer.stopIds, [2, 0])
})

testReal("a long text without a place to cut it", () => {
  const tokenizer = gguf(smollm2)
  const spm = gguf(`${testing}tiny-spm/model.gguf`)
  for (const text of ["a".repeat(100_000), "日本".repeat(30_000), " ".repeat(50_000)])
    for (const each of [tokenizer, spm]) assert.equal(each.decode(each.encode(text, bare)), text)
})

const refuses = (change: Readonly<Record<string, GgufValue>>, message: RegExp): void => {
  assert.throws(
    () => gguf(smollm2, change),
    (error) => error instanceof TokenizerError && message.test(error.message)
  )
}
testReal("a GGUF's tokenizer that cannot be used is a typed error", () => {
  refuses({ "tokenizer.ggml.model": "bert" }, /of the kind "bert"; gpt2 and llama/)
  refuses({ "tokenizer.ggml.pre": "smolm" }, new RegExp(`"smolm"; known are ${[...preTokenizers.keys()][0]}`))
  refuses({ "tokenizer.ggml.tokens": 3 }, /no list of tokens/)
  refuses({ "tokenizer.ggml.merges": Int32Array.of(1) }, /no list of merges/)
  refuses({ "tokenizer.ggml.token_type": Int32Array.of(1) }, /token_type/)
  refuses({ "tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": Float32Array.of(1) }, /scores/)
  assert.equal(ggufTokenizer({ ...opened.get(smollm2)!, metadata: new Map() }), undefined)
})

test("a folder's tokenizer that cannot be used is a typed error", () => {
  const sound = json(`${testing}tiny-bpe/tokenizer.json`) as Record<string, unknown>
  const make =
    (change: Record<string, unknown>, config: unknown = {}) =>
    () =>
      folderTokenizer({ path: "t.json", tokenizer: { ...sound, ...change }, config, specialTokensMap: undefined })
  for (const [attempt, message] of [
    [make({ model: { type: "BPE", vocab: { a: -1 }, merges: [] } }), /token id/],
    [make({ model: 3 }), /t\.json cannot be used/],
    [make({ decoder: { type: "WordPiece" } }), /decoder is WordPiece/],
    [make({ pre_tokenizer: { type: "Nonsense" } }), /Nonsense/],
    [make({}, { bos_token: 7 }), /tokenizer_config\.json/]
  ] as const)
    assert.throws(attempt, (error) => error instanceof TokenizerError && message.test(error.message))
})

/** A copy with one to three values somewhere in it gone or replaced by odd ones. */
const damage = (value: unknown, below: (bound: number) => number): unknown => {
  const odd = [null, "", -1, 0, 1.5, 1e9, 1e300, [], {}, true, "x", ["x"], [[]], { type: "x" }, [null]]
  const copy = structuredClone(value)
  for (let round = below(3); round >= 0; round--) {
    let node = copy as Record<string, unknown> // objects and arrays both are indexed by their keys here
    for (;;) {
      const keys = Object.keys(node)
      const key = keys[below(Math.max(1, keys.length))]
      if (key === undefined) break
      const child = node[key]
      if (typeof child === "object" && child !== null && below(4) > 0) {
        node = child as Record<string, unknown>
        continue
      }
      if (below(3) === 0) delete node[key]
      else node[key] = odd[below(odd.length)]
      break
    }
  }
  return copy
}

test("damaged tokenizer.json: it works or is a typed error", { timeout: 120_000 }, (context) => {
  context.mock.method(console, "warn", () => {}) // the library warns of patterns that it does not know
  let worked = 0
  for (const name of ["tiny-bpe", "tiny-spm"]) {
    const sound = json(`${testing}${name}/tokenizer.json`) as Record<string, unknown>
    const vocab = { a: 3, b: 4, ab: 5, "\u2581": 6, \u0120: 7, "<s>": 0, "</s>": 1, "<unk>": 2 }
    const small = { ...sound, model: { ...(sound["model"] as object), vocab, merges: [["a", "b"]] }, added_tokens: [] }
    for (let seed = 1; seed <= 5000; seed++)
      try {
        const tokenizer = damage(small, randomBelow(seed))
        const made = folderTokenizer({ path: name, tokenizer, config: {}, specialTokensMap: {} })
        made.decode(made.encode("ab a <s> \u00e9 12\n", { addSpecial: true }))
        worked++
      } catch (error) {
        if (!(error instanceof TokenizerError)) throw new Error(`${name}, seed ${seed}`, { cause: error })
      }
  }
  assert.ok(worked > 1000 && worked < 9000, `${worked} worked`)
})
