/**
 * New tokens by `--add-tokens`, against transformers and PEFT (fixtures/make_tiny_whole.py, tiny-whole-tokens): their ids in
 * texts and the rows that they begin with. What such an adapter computes is in wholeModules.test.ts.
 */
import assert from "node:assert/strict"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { openModel } from "@graft/llama-loader"
import { Effect } from "effect"
import { fixtures, graft, graftOk, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf } from "./goldenSets.ts"
import { withAddedTokens } from "./stack/addedTokens.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const golden = JSON.parse(readFileSync(join(fixtures, "tiny-whole-tokens/tokens.json"), "utf8")) as {
  readonly tokens: ReadonlyArray<string>
  readonly texts: ReadonlyArray<{ readonly text: string; readonly ids: ReadonlyArray<number> }>
} // written by the script
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, JSON.stringify({ prompt: "<think>the", completion: " cat</think>" }))
const opened = (path: string, input: Parameters<typeof withAddedTokens>[1]) =>
  Effect.runPromise(Effect.scoped(Effect.flatMap(openModel(path), (one) => withAddedTokens(one, input))))
const train = (out: string, ...flags: ReadonlyArray<string>) => {
  const how = ["--rank", "2", "--compute", "f32", "--backend", "reference", "--steps", "1"]
  return graft("train", "--model", model, "--data", rows, "--out", join(folder, out), ...how, ...flags)
}

test("ids are transformers', before and after they are saved", TIMEOUT, async () => {
  const list = join(folder, "tokens.txt")
  writeFileSync(list, `${golden.tokens.join("\n")}\n`)
  const { code, stderr } = await train("fresh", "--add-tokens", list, "--lr", "0")
  assert.equal(code, 0, stderr)
  const fresh = join(folder, "fresh")
  for (const input of [{ addTokens: golden.tokens.join() }, { adapter: fresh }]) {
    const { tokenizer, config } = await opened(model, input)
    assert.equal(config.vocabularySize, 512 + golden.tokens.length)
    for (const { text, ids } of golden.texts) {
      assert.deepEqual([...tokenizer!.encode(text, { addSpecial: true })], ids, text)
      assert.equal(tokenizer!.decode(ids), text)
    }
  }
  const saved = (await floatsOf(join(fresh, "adapter_model.safetensors"))).get(
    "base_model.model.model.embed_tokens.weight"
  )!
  assert.equal(saved.length, 515 * 64)
  const old = saved.subarray(0, 512 * 64)
  const mean = Float32Array.from({ length: 64 }, (_, i) => {
    let sum = 0
    for (let row = 0; row < 512; row++) sum += old[row * 64 + i]! / 512
    return sum
  })
  for (let row = 512; row < 515; row++)
    assert.ok(distance(saved.subarray(row * 64, (row + 1) * 64), mean) <= 1e-6, `row ${row} is the mean`)
  assert.ok(existsSync(join(fresh, "tokenizer_config.json")))
  const copy = join(folder, "copy")
  await graftOk("export", "--model", model, "--adapter", fresh, "--format", "peft", "--out", copy)
  assert.deepEqual(readFileSync(join(copy, "tokenizer.json")), readFileSync(join(fresh, "tokenizer.json")))
  const said = await graftOk(
    "generate",
    "--model",
    model,
    "--adapter",
    fresh,
    "--prompt",
    "<think>",
    "--json",
    "--backend",
    "reference"
  )
  const last = said.trim().split("\n").at(-1)!
  assert.equal((JSON.parse(last) as { readonly promptTokens: number }).promptTokens, 1) // just written
})

test("rows that a vocabulary has to spare are used before it grows", TIMEOUT, async () => {
  const padded = await opened(model, { addTokens: "<a>,<b>" })
  assert.equal(padded.config.vocabularySize, 514)
  // The folder's own tokenizer, which is what tokens are added to, has 512.
  const again = await Effect.runPromise(withAddedTokens(padded, { addTokens: "<c>" }))
  assert.equal(again.config.vocabularySize, 514)
  assert.equal(again.tensors.get("model.embed_tokens.weight")!.shape[0], 514)
})

test("tokens that cannot be added are refused by name", TIMEOUT, async () => {
  const cases = [
    [["--add-tokens", "<x>,<x>"], /has the token "<x>" already/],
    [["--add-tokens", "<|im_end|>"], /has the token "<\|im_end\|>" already/],
    [["--add-tokens", "<x>,"], /a new token has no text/],
    [["--add-tokens", "<x>", "--full"], /--add-tokens are of an adapter/],
    [["--add-tokens", "<x>", "--sweep", "lr=1e-4,2e-4"], /--add-tokens trains its embedding/],
    [["--add-tokens", "<x>", "--adapter", join(fixtures, "tiny-whole-tokens")], /with the tokens that it has/]
  ] as const
  for (const [flags, said] of cases) {
    const { code, stderr } = await train("no", ...flags)
    assert.equal(code, 1, flags.join(" "))
    assert.match(stderr, said)
  }
  await assert.rejects(opened(join(model, "model.gguf"), { addTokens: "<x>" }), /no tokenizer\.json to add them to/)
})
