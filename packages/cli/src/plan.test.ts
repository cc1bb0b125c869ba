/** A plan from shapes alone is the plan of the run: the same bytes as with weights and rows there. */
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, start, temporaryFolder } from "./commandUnderTest.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = ["--backend", backends.at(-1)!]

const planOf = async (...args: ReadonlyArray<string>) => {
  const plan = jsonLines(await graftOk("plan", ...args, ...backend, "--json")).find(({ event }) => event === "Plan")
  return plan?.memory as { peakBytes: number; byCategory: Record<string, number> } // what --json says of a plan
}

test("config.json and a length plan as the folder and rows of that length do", TIMEOUT, async () => {
  const rows = join(folder, "rows.jsonl")
  const ids = Array.from({ length: 24 }, (_, i) => 5 + i)
  writeFileSync(rows, `${JSON.stringify({ input_ids: ids })}\n`.repeat(4))
  const flags = ["--batch-size", "2", "--rank", "4", "--quantize", "nf4", "--double-quant", "--compute", "f32"]
  const alone = await planOf("--model", join(model, "config.json"), "--tokens", "24", ...flags)
  const whole = await planOf("--model", model, "--data", rows, ...flags)
  assert.ok(alone.peakBytes > 0)
  assert.deepEqual(alone, whole)
})

test("Llama-2-7b as QLoRA with 512 tokens, all layers recomputed, fits into 4.7 GB", TIMEOUT, async () => {
  const flags = [
    "--batch-size",
    "1",
    "--quantize",
    "nf4",
    "--double-quant",
    "--checkpointing",
    "--optimizer",
    "adamw-8bit"
  ]
  const { peakBytes, byCategory } = await planOf(
    "--model",
    "llama-2-7b",
    "--tokens",
    "512",
    ...flags,
    "--compute",
    "bf16"
  )
  assert.ok(peakBytes < 4.7e9, String(peakBytes))
  const linears = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11008)
  const dense = 2 * 2 * 32000 * 4096 + 2 * 65 * 4096
  // 4.127 bits a weight of the linears, 16 of the rest; some kilobytes of tables.
  assert.ok(Math.abs((byCategory.weights ?? 0) - (linears * 4.127) / 8 - dense) < 2e6)
})

test("the disk that a run takes is planned, in a second or so", TIMEOUT, async () => {
  const flags = ["--model", "llama-2-7b", "--tokens", "512", "--quantize", "nf4", "--double-quant", "--save-every", "1"]
  const paged = [...flags, "--steps", "2", "--optimizer", "paged-adamw", "--optimizer-memory", "64MiB", ...backend]
  const began = performance.now()
  const env = { XDG_CACHE_HOME: folder }
  const { stdout } = await start(["plan", ...paged, "--json"], { env }).outcome
  // It takes 0.2 s of them; a machine under load is given more.
  assert.ok(performance.now() - began < 10_000)
  const [disk, planned, plan] = ["Disk", "Planned", "Plan"].map((name) =>
    jsonLines(stdout).find(({ event }) => event === name)
  )
  assert.ok(Number(planned?.seconds) > 0 && Number(planned?.seconds) < 5)
  const needs = disk?.needs as ReadonlyArray<{ what: string; path: string; bytes: number }> // what --json says of the disk
  assert.deepEqual(
    needs.map(({ what }) => what),
    ["the prepared file", "the checkpoints", "the spill file"]
  )
  const linears = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11008)
  const trained = Number(plan?.trainableParameters)
  const wanted = [(linears * 4.127) / 8 + 2 * (2 * 32000 + 65) * 4096, (1 + 2 * 3) * 4 * trained, 8 * trained]
  for (const [i, { bytes }] of needs.entries()) assert.ok(Math.abs(bytes / wanted[i]! - 1) < 0.002, `${i}: ${bytes}`)
  assert.equal(disk?.bytes, needs[0]!.bytes + needs[1]!.bytes + needs[2]!.bytes)
  const said = (await start(["plan", ...paged], { env }).outcome).stdout
  assert.match(
    said,
    /disk +the prepared file 3\.87 GB, the checkpoints 1\.12 GB, the spill file 319\.8 MB; 5\.3\d GB in all/
  )
  assert.match(said, /planned in \d+\.\d s/)
})

test("a plan without rows or their length, or with more tokens than positions, is refused", TIMEOUT, async () => {
  assert.match((await graft("plan", "--model", model)).stderr, /--data is missing; or say with --tokens/)
  const { max_position_embeddings: positions } = JSON.parse(readFileSync(join(model, "config.json"), "utf8")) as {
    max_position_embeddings: number
  } // the fixture's own
  assert.match(
    (await graft("plan", "--model", model, "--tokens", String(positions + 1))).stderr,
    new RegExp(`has ${positions} positions`)
  )
  assert.match((await graft("plan", "--model", join(folder, "none.json"), "--tokens", "8")).stderr, /none\.json/)
})

const rows = join(folder, "to-fit.jsonl")
const shared = ["--model", model, "--data", rows, "--rank", "4", "--compute", "f32", ...backend]
const fitted = [...shared, "--batch-size", "1"]

test(
  "--memory: as many layers recompute as must, planned to the byte, and the adapter has the same bytes",
  TIMEOUT,
  async () => {
    const ids = Array.from({ length: 40 }, (_, i) => 5 + i)
    writeFileSync(rows, `${JSON.stringify({ input_ids: ids })}\n`.repeat(3))
    const eventsOf = async (...args: ReadonlyArray<string>) => jsonLines(await graftOk(...args, "--json"))
    const all = await eventsOf("plan", ...fitted, "--memory", "1GB")
    const fit = all.find(({ event }) => event === "Fit") as {
      way: { checkpointing: number }
      ways: ReadonlyArray<{ bytes: number; text: string; chosen: boolean }>
    } // what --json says of a fit
    assert.equal(fit.way.checkpointing, 0)
    const [least, next, most] = [fit.ways[0]!, fit.ways[1]!, fit.ways.at(-1)!]
    assert.match(least.text, /all layers recomputed/)
    assert.match(most.text, /nothing recomputed/)
    assert.ok(least.bytes < next.bytes && most.chosen)

    const [free, tight] = [join(folder, "free"), join(folder, "tight")]
    await graftOk("train", ...fitted, "--out", free)
    const events = await eventsOf("train", ...fitted, "--memory", String(next.bytes), "--out", tight)
    const done = events.find(({ event }) => event === "Done")
    assert.equal(done?.peakBytes, next.bytes)
    assert.equal(done?.plannedBytes, next.bytes)
    const file = "adapter_model.safetensors"
    assert.deepEqual(readFileSync(join(tight, file)), readFileSync(join(free, file)))
    assert.match(readFileSync(join(tight, "recipe.yaml"), "utf8"), new RegExp(`memory: "?${next.bytes}`))

    const { stderr } = await graft("plan", ...fitted, "--memory", String(least.bytes - 1))
    assert.match(stderr, new RegExp(`the least that this run takes is .*\\(${least.bytes} bytes\\)`))
    assert.match((await graft("plan", ...fitted, "--memory", "1GB", "--checkpointing")).stderr, /leave one of them out/)
  }
)

test("--memory cuts micro-batches: a step has the same rows and the same loss", TIMEOUT, async () => {
  const lossesOf = async (...args: ReadonlyArray<string>) => {
    const events = jsonLines(await graftOk("train", ...shared, "--batch-size", "3", "--steps", "2", ...args, "--json"))
    return { losses: events.filter(({ event }) => event === "Step").map(({ loss }) => Number(loss)), events }
  }
  const whole = await lossesOf("--out", join(folder, "whole"))
  const ways = jsonLines(await graftOk("plan", ...shared, "--batch-size", "3", "--memory", "1GB", "--json"))
  const fits = ways.find(({ event }) => event === "Fit") as { ways: ReadonlyArray<{ bytes: number }> } // as above
  const [least] = fits.ways
  const cut = await lossesOf("--out", join(folder, "cut"), "--memory", String(least!.bytes))
  const fit = cut.events.find(({ event }) => event === "Fit")?.way as { parts: number } // as above
  assert.ok(fit.parts > 1)
  assert.equal(cut.losses.length, 2)
  for (const [i, loss] of cut.losses.entries()) assert.ok(Math.abs(loss / whole.losses[i]! - 1) < 1e-5)
})

test("time comes from the rates that are kept, or is not told", TIMEOUT, async () => {
  if (backends.at(-1) !== "cpu") return assert.ok(!(await graftOk("plan", ...fitted)).includes("tokens/s"))
  const env = { XDG_CACHE_HOME: folder }
  const planIn = async () => (await start(["plan", ...fitted], { env }).outcome).stdout
  assert.match(await planIn(), /no rates kept yet: run graft doctor/)
  const { machineOf } = await import("./rates/keptRates.ts")
  const { version } = await import("./version.ts")
  const { processor, isa, threads } = machineOf({})
  const key = [version(), processor, isa, threads].join(" | ")
  const rates = { measured: "2026-01-02T00:00:00.000Z", peak: {}, products: { f32: 1e6 } }
  mkdirSync(join(folder, "graft"), { recursive: true })
  writeFileSync(join(folder, "graft", "rates.json"), JSON.stringify({ [key]: rates }))
  assert.match(await planIn(), /by the rates of 2026-01-02 about [\d.]+ s a step, [\d.]+ tokens\/s/)
})
