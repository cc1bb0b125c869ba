/** Recipes: what they mean, what they refuse, that a run's own recipe gives the run again. */
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { parse } from "yaml"
import { backends, fixtures, graft, graftOk, root, temporaryFolder } from "./commandUnderTest.ts"
import { fineTune } from "./fineTune.ts"
import { recipeKeys } from "./recipe/RecipeKey.ts"
import { recipeArguments } from "./recipe/recipeArguments.ts"
import { recipeSchema } from "./recipe/recipeSchema.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 8).join("\n"))
const backend = backends.includes("cpu") ? "cpu" : "reference"
const recipe = {
  model,
  data: rows,
  steps: 2,
  batchSize: 2,
  maxLength: 32,
  backend,
  compute: "f32"
} as const
const TIMEOUT = { timeout: 120_000 }

test("every key is a flag's, of the flag's kind", () => {
  const kinds = Object.fromEntries(recipeKeys.map(({ key, kind, many }) => [key, many ? `${kind}s` : kind]))
  assert.equal(kinds.learningRate, "number")
  assert.equal(kinds.rank, "integer")
  assert.equal(kinds.data, "strings")
  assert.equal(kinds.doubleQuant, "boolean")
  assert.equal(kinds.schedule, "choice")
  assert.equal(kinds.column, "pairs")
  assert.equal(kinds.json, undefined)
  const { properties, additionalProperties } = recipeSchema()
  assert.deepEqual(
    Object.keys(properties),
    recipeKeys.map(({ key }) => key)
  )
  assert.equal(additionalProperties, false)
})

test("a recipe becomes flags; what is given beside it wins, also by an alias or a negation", () => {
  const value = {
    model: "m",
    data: ["a", "b"],
    learningRate: 1e-4,
    shuffle: false,
    doubleQuant: true,
    dora: false,
    column: { prompt: "q" }
  }
  assert.deepEqual(recipeArguments("r.yaml", value, []), [
    "--model=m",
    "--data=a",
    "--data=b",
    "--learning-rate=0.0001",
    "--no-shuffle",
    "--double-quant",
    "--column=prompt=q"
  ])
  assert.deepEqual(recipeArguments("r.yaml", value, ["-d", "c", "--lr=1", "--shuffle"]), [
    "--model=m",
    "--double-quant",
    "--column=prompt=q"
  ])
})

test("all that is wrong is said at once, with the nearest name", () => {
  const wrong = {
    modle: "m",
    learning_rate: 1,
    steps: "many",
    schedule: "square",
    shuffle: 1,
    data: [] as Array<number>,
    column: [1]
  }
  wrong.data.push(3)
  assert.throws(
    () => recipeArguments("r.yaml", wrong, []),
    (error: Error) => {
      assert.deepEqual(error.message.split("\n"), [
        "r.yaml: there is no key modle, did you mean model?",
        "r.yaml: there is no key learning_rate, did you mean learningRate?",
        'r.yaml: steps: is "many", wanted an integer',
        'r.yaml: schedule: is "square", wanted one of constant, linear, cosine',
        "r.yaml: shuffle: is 1, wanted true or false",
        "r.yaml: data: is [3], wanted a text or a list of texts",
        "r.yaml: column: is [1], wanted keys with texts"
      ])
      return true
    }
  )
  assert.throws(() => recipeArguments("r.yaml", ["model"], []), /a recipe is keys with values/)
})

test(
  "a file that is none is refused by name: no such file, broken YAML with its place, a bomb of aliases, no default export",
  TIMEOUT,
  async () => {
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const bomb = `a: &a [1,1]\n${Array.from({ length: 12 }, (_, i) => `b${i}: &b${i} [${Array(20).fill(i === 0 ? "*a" : `*b${i - 1}`)}]`).join("\n")}\n`
    for (const [path, problem] of [
      [join(folder, "none.yaml"), /there is no such recipe/],
      [file("broken.yaml", "model: [m\nsteps: 2"), /line \d+, column \d+/],
      [file("twice.yaml", "model: m\nmodel: n\n"), /unique/],
      [file("bomb.yaml", bomb), /alias/],
      [file("empty.mjs", "export const a = 1\n"), /no default export/],
      [file("large.json", `{"model":"${"m".repeat(1 << 20)}"}`), /more than 1048576 bytes/]
    ] as const) {
      const { code, stderr } = await graft("train", path)
      assert.equal(code, 1)
      assert.match(stderr, problem)
    }
  }
)

test("--init writes a recipe that runs, once", TIMEOUT, async () => {
  const path = join(folder, "init.yaml")
  const flags = [
    "--model",
    model,
    "--data",
    rows,
    "--steps",
    "1",
    "--batch-size",
    "2",
    "--max-length",
    "32",
    "--backend",
    backend
  ]
  await graftOk("train", "--init", "--recipe", path, ...flags)
  const text = readFileSync(path, "utf8")
  assert.deepEqual(parse(text), { model, data: [rows], steps: 1, batchSize: 2, maxLength: 32, backend: backend })
  for (const { key } of recipeKeys) assert.match(text, new RegExp(`^(# )?${key}:`, "m"))
  assert.match((await graft("train", "--init", "--recipe", path)).stderr, /is there already/)
  assert.match(await graftOk("plan", path), /1 step /)
})

test(
  "a run keeps its recipe as resolved, and the recipe gives the same adapter again; a module is a recipe too",
  TIMEOUT,
  async () => {
    const module = join(folder, "recipe.mjs")
    writeFileSync(module, `export default ${JSON.stringify({ ...recipe, steps: 9 })}\n`)
    const [first, second] = [join(folder, "first"), join(folder, "second")]
    await graftOk("train", module, "--steps", "2", "--out", first)
    const kept: unknown = parse(readFileSync(join(first, "recipe.yaml"), "utf8"))
    assert.ok(typeof kept === "object" && kept !== null)
    assert.equal("out" in kept, false)
    assert.deepEqual({ ...kept, ...recipe, data: [rows], learningRate: 2e-4 }, kept)
    await graftOk("train", join(first, "recipe.yaml"), "--out", second)
    const adapterOf = (out: string) => readFileSync(join(out, "adapter_model.safetensors"))
    assert.deepEqual(adapterOf(second), adapterOf(first))
  }
)

test(
  "fineTune is the same run as an async iterable; a signal ends it with what was learnt saved",
  TIMEOUT,
  async () => {
    const kinds: Array<string> = []
    for await (const event of fineTune(recipe))
      if (event._tag !== "Load" && event._tag !== "Progress") kinds.push(event._tag)
    assert.deepEqual(kinds, ["Plan", "Step", "Step", "Done"])

    const stop = new AbortController()
    const out = join(folder, "stopped")
    let last: unknown
    for await (const event of fineTune({ ...recipe, steps: 500, out }, { signal: stop.signal })) {
      if (event._tag === "Step" && event.step === 2) stop.abort()
      last = event
    }
    assert.ok(typeof last === "object" && last !== null && "interrupted" in last && last.interrupted === true)
    assert.ok(readFileSync(join(out, "adapter_model.safetensors")).byteLength > 0)

    const wrong = { ...recipe, rank: -1 }
    await assert.rejects(async () => {
      for await (const _ of fineTune(wrong)) assert.fail("nothing runs")
    }, /rank/)
  }
)
