/** `--model org/name`: what is fetched, where it lies, what is said when it cannot be had. */
import assert from "node:assert/strict"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { fakeHub } from "@graft/hub/fakeHub"
import { fixtures, start, temporaryFolder } from "./commandUnderTest.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const modelFiles = (name: string) => {
  const at = join(fixtures, name)
  const wanted = readdirSync(at).filter((file) => /\.(json|safetensors|jinja)$/.test(file))
  return Object.fromEntries(wanted.map((file) => [file, new Uint8Array(readFileSync(join(at, file)))]))
}
const gguf = readdirSync(join(fixtures, "tiny-gguf")).find((file) => file.endsWith(".gguf")) ?? ""

test(
  "a model of the Hub is fetched once, weights broken off on the way included; offline it is there; others are refused with what to do",
  TIMEOUT,
  async () => {
    await using hub = await fakeHub({
      "models/org/tiny": {
        files: { ...modelFiles("tiny-bpe"), "pytorch_model.bin": "not wanted", "README.md": "" },
        largeFrom: 20_000
      },
      "models/org/closed": { files: modelFiles("tiny-bpe"), token: "mine", gated: true },
      "models/org/tiny-GGUF": { files: { [gguf]: new Uint8Array(readFileSync(join(fixtures, "tiny-gguf", gguf))) } }
    })
    const generate = (model: string, variables: Readonly<Record<string, string>> = {}) => {
      const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf"), HF_TOKEN: "", ...variables }
      return start(["generate", "--model", model, "--ids", "5,6", "-n", "1", "--backend", "reference"], { env }).outcome
    }
    hub.breakAfter(10_000, 5_000)
    const first = await generate("org/tiny")
    assert.equal(first.code, 0, first.stderr)
    const asked = hub.requests.map(({ path }) => path)
    assert.ok(!asked.some((path) => /pytorch_model|README/.test(path)), asked.join("\n"))
    assert.ok(asked.some((path) => path.endsWith("model.safetensors")))
    const snapshots = join(folder, "hf/hub/models--org--tiny/snapshots")
    const [commit = ""] = readdirSync(snapshots)
    assert.ok(readdirSync(join(snapshots, commit)).includes("model.safetensors"))

    const before = hub.requests.length
    assert.equal((await generate("org/tiny", { HF_HUB_OFFLINE: "1" })).code, 0)
    assert.equal(hub.requests.length, before)

    for (const [model, problem] of [
      ["org/closed", /org\/closed.*access/s],
      ["org/none", /org\/none/],
      ["org/tiny@elsewhere", /has no such revision/],
      ["org/tiny-GGUF", new RegExp(`say which, as in --model org/tiny-GGUF:${gguf}`)],
      ["./org/missing", /missing/]
    ] as const) {
      const { code, stderr } = await generate(model)
      assert.equal(code, 1, model)
      assert.match(stderr, problem)
    }
    const packed = await generate(`org/tiny-GGUF:${gguf}`)
    assert.equal(packed.code, 0, packed.stderr)
  }
)

test("an adapter names the repository that its base came from, as PEFT does", TIMEOUT, async () => {
  await using hub = await fakeHub({
    "models/org/tiny": { files: modelFiles("tiny-bpe"), branches: { v2: modelFiles("tiny-bpe") } }
  })
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf-base"), HF_TOKEN: "" }
  const rows = join(folder, "rows.jsonl")
  writeFileSync(rows, '{"text":"one row"}\n{"text":"another"}\n')
  for (const [model, revision] of [
    ["org/tiny", null],
    ["org/tiny@v2", "v2"]
  ] as const) {
    const out = join(folder, `adapter-${revision}`)
    const flags = ["--data", rows, "--steps", "1", "--backend", "reference", "--out", out]
    const { code, stderr } = await start(["train", "--model", model, ...flags], { env }).outcome
    assert.equal(code, 0, stderr)
    const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))
    assert.equal(config.base_model_name_or_path, "org/tiny")
    assert.equal(config.revision, revision)
  }
})
