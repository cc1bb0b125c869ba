/** A run as a user sees it: what it tells, what it writes, how it stops and goes on. */
import assert from "node:assert/strict"
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, root, start, temporaryFolder } from "./commandUnderTest.ts"
import { distance, floatsOf } from "./goldenSets.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const data = join(root, "examples/data/jargon.jsonl")
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(data, "utf8").split("\n").slice(0, 24).join("\n"))
const TIMEOUT = { timeout: 120_000 }
const backend = backends.at(-1)!
// In f32, so that a machine that multiplies bf16 is held to the same bounds.
const fixed = ["--backend", backend, "--compute", "f32", "--max-length", "48"]
const base = ["--model", model, "--data", rows, ...fixed, "--batch-size", "4"]

const adapterOf = (out: string) => floatsOf(join(out, "adapter_model.safetensors"))
const lossesOf = (out: string) =>
  jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8")).flatMap(({ loss }) =>
    loss === undefined ? [] : Number(loss)
  )

test("one pass over the rows is the default; the loss falls; what a person is told", TIMEOUT, async () => {
  const out = join(folder, "told")
  const said = await graftOk("train", ...base, "--out", out, "--learning-rate", "1e-2", "--eval-fraction", "0.2")
  const losses = lossesOf(out)
  assert.equal(losses.length, 5, "19 of 24 rows by fours")
  const metrics = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
  assert.deepEqual(
    metrics.flatMap(({ step, evalLoss }) => (evalLoss === undefined ? [] : step)),
    [0, 5]
  )
  assert.match(said, /model {2}tiny-bpe: Llama/)
  assert.match(said, /data {3}24 rows, 19 to train on, 5 held out/)
  assert.match(said, /note: \d+ rows: they are longer than --max-length/)
  assert.match(said, /plan {3}5 steps \(5 an epoch\) in \w+/)
  for (const category of ["weights", "adapters", "gradients", "optimizer", "activations"])
    assert.match(said, new RegExp(`^ {2}${category} +[\\d.]+ [kM]?B`, "m"))
  assert.match(said, /in all +[\d.]+ MB +[\d,]+ bytes/)
  assert.match(said, /^step 3\/5 {2}loss \d\.\d{4} {2}grad .* {2}lr 1\.00e-2 {2}[\d,.]+ tokens\/s$/m)
  const [before, after] = [...said.matchAll(/^held out {2}loss ([\d.]+)/gm)].map(([, loss]) => Number(loss))
  assert.ok(after! < before! - 0.05, `${before} → ${after}`)
  assert.match(said, /memory {4}planned ([\d.]+ MB), taken \1, the whole process/)
  assert.ok(!said.includes("\x1b") && !said.includes("\r"), "no colour and no live line outside of a terminal")
  assert.deepEqual(readdirSync(out).sort(), [
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "metrics.jsonl",
    "recipe.yaml",
    "report.html",
    "state"
  ])
})

test("--json is one event a line, in order", TIMEOUT, async () => {
  const out = join(folder, "events")
  const events = jsonLines(await graftOk("train", ...base, "--out", out, "--steps", "3", "--json", "--save-every", "2"))
  const kinds = events.map(({ event }) => event).filter((e) => e !== "Load" && e !== "Progress")
  assert.deepEqual(kinds, [
    "Model",
    "Data",
    "Plan",
    "Step",
    "Step",
    "Checkpoint",
    "Step",
    "Checkpoint",
    "Done",
    "Memory"
  ])
  const plan = events.find(({ event }) => event === "Plan")!
  const { peakBytes, byCategory } = plan.memory as { peakBytes: number; byCategory: Record<string, number> } // just printed
  const done = events.find(({ event }) => event === "Done")!
  assert.deepEqual([done.plannedBytes, done.peakBytes], [peakBytes, peakBytes])
  assert.ok(byCategory.weights! > 0)
})

test("plan takes the same flags, says the same bytes and writes nothing", TIMEOUT, async () => {
  const out = join(folder, "planned")
  const [planned] = jsonLines(await graftOk("plan", ...base, "--out", out, "--steps", "3", "--json")).filter(
    ({ event }) => event === "Plan"
  )
  const events = jsonLines(await graftOk("train", ...base, "--out", join(folder, "ran"), "--steps", "3", "--json"))
  assert.deepEqual(planned!.memory, events.find(({ event }) => event === "Plan")!.memory)
  assert.equal(readdirSync(folder).includes("planned"), false)
})

test("equal seeds give equal bits, other seeds do not", TIMEOUT, async () => {
  const run = async (name: string, seed: string) => {
    const out = join(folder, name)
    await graftOk("train", ...base, "--out", out, "--steps", "2", "--lora-dropout", "0.1", "--seed", seed)
    return readFileSync(join(out, "adapter_model.safetensors"))
  }
  const first = await run("seed-a", "1")
  assert.deepEqual(await run("seed-b", "1"), first)
  assert.notDeepEqual(await run("seed-c", "2"), first)
})

test("the loss does not depend on how a batch is cut into micro-batches, nor on recomputation", TIMEOUT, async () => {
  const run = async (name: string, ...flags: ReadonlyArray<string>) => {
    const out = join(folder, name)
    await graftOk("train", "--model", model, "--data", rows, ...fixed, "--steps", "3", "--out", out, ...flags)
    return lossesOf(out)
  }
  const whole = await run("whole", "--batch-size", "8")
  const cut = await run("cut", "--batch-size", "2", "--grad-accumulation", "4")
  const again = await run("again", "--batch-size", "8", "--checkpointing")
  for (const [i, loss] of whole.entries()) {
    assert.ok(Math.abs(cut[i]! - loss) < 1e-5 * loss, `${cut} against ${whole}`)
    assert.ok(Math.abs(again[i]! - loss) < 1e-6 * loss, `${again} against ${whole}`)
  }
})

test("Ctrl-C saves what was learnt and exits with 130; --resume ends where an unbroken run ends", TIMEOUT, async () => {
  // On the reference backend, so that there is time to stop it.
  const slow = ["--model", model, "--data", rows, "--backend", "reference", "--max-length", "48", "--batch-size", "8"]
  const run = [...slow, "--steps", "12", "--weight-decay", "0.1", "--schedule", "cosine"]
  const [whole, broken] = [join(folder, "unbroken"), join(folder, "broken")]
  await graftOk("train", ...run, "--out", whole)

  let asked = false
  const running = start(["train", ...run, "--out", broken], {
    onOutput: (said) => {
      if (!asked && /^step {1,2}2\/12/m.test(said)) {
        asked = true
        running.signal("SIGINT")
      }
    }
  })
  const { code, stdout, stderr } = await running.outcome
  assert.equal(code, 130, stderr)
  assert.match(stdout, /^saved .* as of step \d+$/m)
  const stopped = Number(/stopped after step (\d+) of 12.*--resume/.exec(stderr)?.[1])
  assert.ok(stopped >= 2 && stopped < 12, stderr)
  const part = await adapterOf(broken)
  assert.ok([...part.values()].every((values) => values.every(Number.isFinite)))

  const resumed = await graftOk("train", ...run, "--out", broken, "--resume")
  assert.match(resumed, new RegExp(`^resumed after step ${stopped}$`, "m"))
  assert.deepEqual(
    readFileSync(join(broken, "adapter_model.safetensors")),
    readFileSync(join(whole, "adapter_model.safetensors"))
  )
  const steps = jsonLines(readFileSync(join(broken, "metrics.jsonl"), "utf8")).map(({ step }) => Number(step))
  assert.deepEqual(
    steps,
    [...new Set(steps)].sort((a, b) => a - b)
  )
  assert.equal(steps.at(-1), 12)
})

for (const one of backends) {
  test(`kill -9 on ${one} leaves the last checkpoint to go on from, and the end is the same`, TIMEOUT, async () => {
    const steps = one === "cpu" ? 40 : 8
    const flags = ["--model", model, "--data", rows, "--backend", one, "--max-length", "48", "--steps", String(steps)]
    const run = [...flags, "--weight-decay", "0.1", "--schedule", "cosine", "--lora-dropout", "0.1"]
    const [whole, killed] = [join(folder, `${one}-whole`), join(folder, `${one}-killed`)]
    await graftOk("train", ...run, "--out", whole)
    const running = start(["train", ...run, "--out", killed, "--save-every", "1"], {
      onOutput: (said) => {
        if (/^saved .* as of step 3$/m.test(said)) running.signal("SIGKILL")
      }
    })
    assert.equal((await running.outcome).code, null, "killed, not ended")
    await graftOk("train", ...run, "--out", killed, "--resume", "--save-every", "1")
    assert.deepEqual(
      readFileSync(join(killed, "adapter_model.safetensors")),
      readFileSync(join(whole, "adapter_model.safetensors"))
    )
    const told = jsonLines(readFileSync(join(killed, "metrics.jsonl"), "utf8")).map(({ step }) => step)
    assert.deepEqual(
      told,
      Array.from({ length: steps }, (_, i) => i + 1)
    )
  })
}

test(
  "state that pages: killed, gone on with under another budget, the adapter is that of a run in memory",
  TIMEOUT,
  async () => {
    const flags = [...base, "--steps", "30", "--rank", "64", "--weight-decay", "0.1", "--lora-plus-ratio", "4"]
    const eight = (budget: string) => ["--optimizer", "paged_adamw_8bit", "--optimizer-memory", budget]
    const [whole, killed] = [join(folder, "in-memory"), join(folder, "paged")]
    await graftOk("train", ...flags, "--optimizer", "adamw-8bit", "--out", whole)
    const running = start(["train", ...flags, ...eight("64KiB"), "--out", killed, "--save-every", "1"], {
      onOutput: (said) => {
        if (/^saved .* as of step 3$/m.test(said)) running.signal("SIGKILL")
      }
    })
    assert.equal((await running.outcome).code, null, "killed, not ended")
    const spilled = () => readdirSync(killed).filter((name) => name.endsWith(".graft-spill"))
    assert.equal(spilled().length, 1, "a run that is killed cannot remove its file")
    const said = await graftOk("train", ...flags, ...eight("96KiB"), "--out", killed, "--resume")
    assert.deepEqual(spilled(), [], "the next run does, and removes its own")
    assert.match(
      said,
      /^paging {4}[\d,]+ pages waited for, [\d,]+ there in time, [\d.]+ [kM]B in, [\d.]+ [kM]B out, [\d.]+ s stalled$/m
    )
    assert.match(said, /parts: .*AdamW in 8 bits, paged under 0\.09 MiB/)
    assert.deepEqual(
      readFileSync(join(killed, "adapter_model.safetensors")),
      readFileSync(join(whole, "adapter_model.safetensors"))
    )
  }
)

test("another run's checkpoint is not gone on from", TIMEOUT, async () => {
  const out = join(folder, "other")
  await graftOk("train", ...base, "--out", out, "--steps", "1")
  const { code, stderr } = await graft("train", ...base, "--out", out, "--steps", "1", "--seed", "5", "--resume")
  assert.equal(code, 1)
  assert.match(stderr, /state\.json.*another run/)
})

test("an adapter trained from the GGUF and one from the folder are interchangeable", TIMEOUT, async () => {
  const [gguf, out] = [
    join(model, "model.gguf"),
    { gguf: join(folder, "from-gguf"), folder: join(folder, "from-folder") }
  ]
  const run = ["--data", rows, ...fixed, "--steps", "3", "--lr", "1e-2"]
  await graftOk("train", "--model", gguf, ...run, "--out", out.gguf)
  await graftOk("train", "--model", model, ...run, "--out", out.folder)
  for (const [i, loss] of lossesOf(out.folder).entries())
    assert.ok(Math.abs(lossesOf(out.gguf)[i]! - loss) < 1e-5 * loss)
  const evaluated = async (path: string, adapter: string) => {
    const flags = ["--adapter", adapter, "--data", rows, ...fixed, "--json"]
    const events = jsonLines(await graftOk("eval", "--model", path, ...flags))
    return Number(events.find(({ event }) => event === "Eval")!.loss)
  }
  const wanted = await evaluated(model, out.folder)
  for (const [path, adapter] of [
    [gguf, out.gguf],
    [gguf, out.folder],
    [model, out.gguf]
  ] as const)
    assert.ok(Math.abs((await evaluated(path, adapter)) - wanted) < 1e-4 * wanted)
})

test("--adapter goes on with the rank, the targets and the values of the adapter", TIMEOUT, async () => {
  const first = join(folder, "first")
  await graftOk(
    "train",
    ...base,
    "--out",
    first,
    "--steps",
    "2",
    "--rank",
    "3",
    "--target",
    "q_proj,v_proj",
    "--lr",
    "1e-2"
  )
  const second = join(folder, "second")
  await graftOk("train", ...base, "--out", second, "--steps", "1", "--adapter", first, "--learning-rate", "0")
  const [a, b] = [await adapterOf(first), await adapterOf(second)]
  assert.deepEqual(
    [...b].map(([name, v]) => [name, v.length]),
    [...a].map(([name, v]) => [name, v.length])
  )
  for (const [name, values] of a) assert.equal(distance(b.get(name)!, values), 0, name)
})

test("--full trains all weights and writes a model's folder that opens again", TIMEOUT, async () => {
  const out = join(folder, "model")
  await graftOk("train", ...base, "--out", out, "--steps", "3", "--full", "--learning-rate", "1e-3")
  const [first, , last] = lossesOf(out)
  assert.ok(last! < first!)
  assert.equal(JSON.parse(readFileSync(join(out, "config.json"), "utf8")).dtype, "float32")
  const text = await graftOk("generate", "--model", out, "--prompt", "What", "--backend", backend, "-n", "4", "--json")
  assert.equal(jsonLines(text)[0]!.event, "Generated")
})

test("fractions of an epoch, packing, and evaluation rows of their own", TIMEOUT, async () => {
  const out = join(folder, "packed")
  const held = join(folder, "held.jsonl")
  cpSync(rows, held)
  const flags = ["--epochs", "0.5", "--packing", "--eval-data", held, "--eval-every", "1"]
  const events = jsonLines(await graftOk("train", ...base, "--out", out, ...flags, "--json"))
  const plan = events.find(({ event }) => event === "Plan")!
  assert.equal(plan.steps, Math.ceil(Number(plan.stepsPerEpoch) / 2))
  assert.equal(events.filter(({ event }) => event === "Eval").length, Number(plan.steps) + 1)
})
