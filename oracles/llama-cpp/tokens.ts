/**
 * Token ids by llama.cpp for the strings of packages/llama-loader/fixtures/strings.json, under every vocabulary that the
 * tests use.
 *
 *   bun oracles/llama-cpp/tokens.ts record [MODELS]    writes the reference, packages/llama-loader/fixtures/llamaCppTokens.json, and
 *                                                      hashes of the ids of 10,000 odd strings, fixtures/odd/llamaCpp.json
 *   bun oracles/llama-cpp/tokens.ts compare [MODELS]   compares Graft with llama.cpp on these and on 10,000 made-up strings
 *
 * MODELS is the folder of the real model, ../shared/models unless given. Ends with exit code 1 where an id differs.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { getLlama, LlamaLogLevel } from "node-llama-cpp"
import { type EncodedValue, encodeGguf, type GgufValue, parseGguf } from "../../packages/gguf/src/index.ts"
import { ggufTokenizer } from "../../packages/llama-loader/src/tokenizer/ggufTokenizer.ts"
import { hashesOf, oddStrings } from "../../packages/llama-loader/src/tokenizer/oddStrings.ts"
import { memorySource } from "../../packages/safetensors/src/index.ts"
import { randomBelow } from "../../packages/safetensors/src/mutateBytes.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const [mode = "compare", models = join(root, "../shared/models")] = process.argv.slice(2)
const strings = JSON.parse(
  readFileSync(join(root, "packages/llama-loader/fixtures/strings.json"), "utf8")
) as Array<string>
const reference = join(root, "packages/llama-loader/fixtures/llamaCppTokens.json")

const smollm2 = join(models, "smollm2-135m-instruct-q4_1.gguf")
const fixtures = join(root, "packages/testing/fixtures")

/** The rules under which the real vocabulary is also read; its file says `smollm`. */
const rules = ["default", "gpt-2", "llama-bpe", "qwen2", "smaug-bpe", "deepseek-coder", "tekken", "gpt-4o"]

interface Case {
  readonly name: string
  readonly file: string
  readonly metadata: ReadonlyMap<string, GgufValue>
}

const parse = (file: string) => parseGguf(memorySource(file, readFileSync(file)))

/** A value as llama.cpp wants it back; the formats of these keys are fixed by its loader. */
const encodeValue = (value: GgufValue): EncodedValue => {
  if (typeof value === "string") return { type: "text", value }
  if (typeof value === "boolean") return { type: "bool", value }
  if (typeof value === "number") return Number.isInteger(value) ? { type: "u32", value } : { type: "f32", value }
  if (value instanceof Int32Array) return { type: "i32s", value }
  if (value instanceof Float32Array) return { type: "f32s", value }
  return { type: "texts", value: value as ReadonlyArray<string> }
}

const folder = mkdtempSync(join(tmpdir(), "graft-tokens-"))
const variant = (name: string, file: string, change: Readonly<Record<string, GgufValue>>): Case => {
  const metadata = new Map([...parse(file).metadata, ...Object.entries(change)])
  const encoded: Record<string, EncodedValue> = {}
  for (const [key, value] of metadata) encoded[key] = encodeValue(value)
  encoded["llama.rope.freq_base"] = { type: "f32", value: Number(metadata.get("llama.rope.freq_base")) }
  const path = join(folder, `${name.replaceAll(" ", "-")}.gguf`)
  writeFileSync(path, encodeGguf(encoded))
  return { name, file: path, metadata }
}
const whole = (name: string, file: string): Case => ({ name, file, metadata: parse(file).metadata })

const cases: ReadonlyArray<Case> = [
  whole("smollm2", smollm2),
  ...rules.map((rule) => variant(`smollm2 as ${rule}`, smollm2, { "tokenizer.ggml.pre": rule })),
  whole("tiny-bpe", join(fixtures, "tiny-bpe/model.gguf")),
  whole("tiny-spm", join(fixtures, "tiny-spm/model.gguf")),
  variant("tiny-spm without prefix", join(fixtures, "tiny-spm/model.gguf"), {
    "tokenizer.ggml.add_space_prefix": false
  })
]

/** Strings put together from pieces of the others and from odd code points. */
const madeUp = (count: number): ReadonlyArray<string> => {
  const below = randomBelow(20_261)
  const odd = [
    "\u0301",
    "\u200d",
    "\ufe0f",
    "\u00a0",
    "\u0085",
    "\u3000",
    "\ufeff",
    "\r\n",
    "\n",
    "  ",
    "'",
    "'S",
    "<|im_end|>",
    "\u{1f600}",
    "\u0e33",
    "\ud83d",
    "١",
    "\u2028"
  ]
  return Array.from({ length: count }, () => {
    let text = ""
    for (let i = below(6); i >= 0; i--) {
      const from = strings[below(strings.length)]!
      const at = below(from.length + 1)
      text += below(4) === 0 ? odd[below(odd.length)]! : from.slice(at, at + 1 + below(20))
      if (below(50) === 0) text += String.fromCodePoint(0x20 + below(0xd700))
    }
    return text
  })
}

const llama = await getLlama({ build: "never", gpu: false, skipDownload: true, logLevel: LlamaLogLevel.fatal })
const recorded: Record<string, ReadonlyArray<ReadonlyArray<number>>> = {}
/** What the tests of 10,000 strings use: the kinds that differ, since each takes them a second. */
const hashed = ["smollm2", "smollm2 as llama-bpe", "smollm2 as qwen2", "tiny-spm", "tiny-spm without prefix"]
const odd: Record<string, string> = {}
let different = 0
for (const { name, file, metadata } of cases) {
  const model = await llama.loadModel({ modelPath: file, vocabOnly: true })
  const theirs = (text: string): Array<number> => [...model.tokenize(text, true)]
  recorded[name] = strings.map(theirs)
  if (mode === "record" && hashed.includes(name))
    odd[name] = Buffer.from(hashesOf(theirs, oddStrings()).buffer).toString("base64")
  if (mode === "compare") {
    const tokenizer = ggufTokenizer({ ...parse(file), metadata })!
    const texts = [...strings, ...madeUp(10_000)]
    let wrong = 0
    for (const text of texts) {
      const want = theirs(text)
      const got = tokenizer.encode(text, { addSpecial: false })
      if (want.length === got.length && want.every((id, i) => got[i] === id)) continue
      if (wrong++ < 5)
        console.log(`${name}: ${JSON.stringify(text)}\n  llama.cpp ${want.join(" ")}\n  Graft     ${got.join(" ")}`)
    }
    console.log(`${name}: ${texts.length - wrong} of ${texts.length} texts alike`)
    different += wrong
  }
  await model.dispose()
}
rmSync(folder, { recursive: true })
if (mode === "record") {
  const lines = Object.entries(recorded).map(
    ([name, lists]) => `${JSON.stringify(name)}: [\n${lists.map((ids) => JSON.stringify(ids)).join(",\n")}\n]`
  )
  writeFileSync(reference, `{\n${lines.join(",\n")}\n}\n`)
  writeFileSync(join(root, "packages/llama-loader/fixtures/odd/llamaCpp.json"), `${JSON.stringify(odd, null, 1)}\n`)
  console.log(`recorded ${strings.length} strings for ${cases.length} vocabularies`)
}
process.exit(different === 0 ? 0 : 1)
