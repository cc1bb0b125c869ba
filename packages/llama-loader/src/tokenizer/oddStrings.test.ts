import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { folderTokenizer } from "./folderTokenizer.ts"
import { modelTokenizer } from "./modelTokenizer.ts"
import { hashesOf, oddStrings } from "./oddStrings.ts"
import type { Tokenizer } from "./Tokenizer.ts"

const fixtures = new URL("../../fixtures/odd/", import.meta.url)
const json = (name: string | URL) => JSON.parse(readFileSync(new URL(name, fixtures), "utf8"))
const variants = json("variants.json") as Readonly<
  Record<string, { readonly base: string; readonly change: Readonly<Record<string, unknown>> }>
>
const hashes = json("hashes.json") as Readonly<Record<string, string>>

/** As make_odd.py changes the file. */
const changed = (base: string, change: Readonly<Record<string, unknown>>): object => {
  const file = json(
    base === "unigram" || base === "crossing" ? `${base}.json` : `../../../testing/fixtures/${base}/tokenizer.json`
  )
  for (const [path, value] of Object.entries(change)) {
    if (path === "bytes")
      for (let byte = 0; byte < 256; byte++)
        file.model.vocab.push([`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 0])
    else if (path.startsWith("model.")) file.model[path.slice(6)] = value
    else if (path === "more_tokens") file.added_tokens.push(...(value as ReadonlyArray<unknown>))
    else file[path] = value
  }
  return file
}

const tokenizerOf = (name: string): Tokenizer => {
  const variant = variants[name]
  if (variant !== undefined) {
    const tokenizer = changed(variant.base, variant.change)
    return folderTokenizer({ path: name, tokenizer, config: undefined, specialTokensMap: undefined })
  }
  const [path, legacy] = name.split(" ") as [string, string?]
  return modelTokenizer({
    path,
    model: readFileSync(new URL(path, fixtures)),
    config: { legacy: legacy !== undefined },
    addedTokens: undefined,
    specialTokensMap: undefined
  })
}

const strings = oddStrings()
for (const [name, expected] of Object.entries(hashes))
  test(`${name}: ids of 10,000 odd strings are those of the Python peers`, { timeout: 60_000 }, () => {
    const tokenizer = tokenizerOf(name)
    const got = hashesOf((text) => tokenizer.encode(text, { addSpecial: false }), strings)
    const want = new Uint32Array(Uint8Array.from(Buffer.from(expected, "base64")).buffer)
    const wrong = [...got.keys()].filter((group) => got[group] !== want[group])
    const first = 10 * (wrong[0] ?? 0)
    assert.equal(
      wrong.length,
      0,
      `${wrong.length} of 1,000 tens differ, the first is ${first}: ${JSON.stringify(strings.slice(first, first + 10))}`
    )
  })
