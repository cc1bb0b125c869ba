/** The disk is asked before anything is written: who told of too little room leaves everything as it was. */
import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { fakeHub } from "@graft/hub/fakeHub"
import { FreeSpace, NotEnoughDisk } from "@graft/safetensors"
import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { backends, fixtures, graftOk, jsonLines, start, temporaryFolder } from "./commandUnderTest.ts"
import { graft } from "./graft.ts"
import { Stopping } from "./Stopping.ts"

const TIMEOUT = { timeout: 120_000 }
const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = backends.at(-1)!
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, '{"text":"one row"}\n{"text":"another"}\n')

/** What the command fails with where every disk has so many bytes free. */
const failureOf = (free: number, ...words: ReadonlyArray<string>): Promise<unknown> =>
  Effect.runPromise(
    Command.runWith(graft, { version: "0" })(words).pipe(
      Effect.flip,
      Effect.provideService(FreeSpace, () => free),
      Effect.provideService(Stopping, { onFirst: () => Effect.void }),
      Effect.provide(NodeServices.layer)
    )
  )
const refused = async (free: number, out: string, ...words: ReadonlyArray<string>): Promise<NotEnoughDisk> => {
  const error = await failureOf(free, ...words)
  assert.ok(error instanceof NotEnoughDisk, String(error))
  assert.ok(!existsSync(out), "nothing is left behind")
  assert.equal(error.freeBytes, free)
  assert.ok(error.neededBytes > free && error.message.startsWith(`${error.path}: `))
  return error
}
/** What a run writes besides, at most. */
const BESIDE = 2 ** 20
const out = join(folder, "out")
const training = ["train", "--model", model, "--data", rows, "--backend", backend, "--steps", "3", "--out", out]

test("train: adapter and optimiser state times the checkpoints that lie there at one time", TIMEOUT, async () => {
  const once = await refused(1000, out, ...training)
  assert.match(
    once.message,
    /out: .* are to be written \(the checkpoints\), and the disk has 1\.0 kB .*free; make room, .*--out/
  )
  const often = await refused(1000, out, ...training, "--save-every", "1")
  const state = (often.neededBytes - once.neededBytes) / 2
  const adapter = once.neededBytes - state - BESIDE
  // In f32 the adapter, its copy in the state and two moments.
  assert.ok(Math.abs(state / adapter - 3) < 0.01, `${state} ${adapter}`)
  const spilling = await refused(
    ...([1000, out, ...training] as const),
    ...["--optimizer", "paged-adamw", "--optimizer-memory", "65536", "--rank", "16"]
  )
  assert.match(spilling.message, /the checkpoints, .*; the spill file, /)
})

test("train: what is written is what was asked for, and a run that goes on counts what is there", TIMEOUT, async () => {
  const { neededBytes } = await refused(1000, out, ...training, "--save-every", "1")
  await graftOk(...training, "--save-every", "1")
  const sizeOf = (at: string): number => readdirSync(at).reduce((sum, name) => sum + statSync(join(at, name)).size, 0)
  const states = ["state", "state.previous"].map((name) => sizeOf(join(out, name)))
  const taken = BESIDE + 1.5 * (states[0]! + states[1]!) + statSync(join(out, "adapter_model.safetensors")).size
  assert.ok(Math.abs(taken / neededBytes - 1) < 0.05, `${taken} of ${neededBytes}`)
  const again = await failureOf(1000, ...training, "--save-every", "1", "--resume")
  assert.ok(again instanceof NotEnoughDisk && Math.abs(again.neededBytes / (neededBytes - 2 * states[0]!) - 1) < 0.05)
})

test("train: the prepared file and the checkpoints are asked for together, before it is made", TIMEOUT, async () => {
  const [prepared, to] = [join(folder, "prepared"), join(folder, "prepared-out")]
  const words = [...training.slice(0, -1), to, "--quantize", "nf4", "--prepared", prepared]
  const error = await refused(1_150_000, to, ...words)
  assert.match(error.message, /are to be written \(the prepared file, .*; the checkpoints in .*prepared-out, /)
  assert.ok(!existsSync(prepared))
})

test("train: more memory than the machine has is refused before the prepared file is made", TIMEOUT, async () => {
  if (backend !== "cpu") return // the reference has its memory from the runtime, which says so itself
  const [prepared, to] = [join(folder, "prepared-no"), join(folder, "no-memory")]
  const words = [...training.slice(0, -1), to, "--quantize", "nf4", "--prepared", prepared, "--rank", String(2 ** 24)]
  const { code, stderr } = await start([...words, "--json"]).outcome
  assert.equal(code, 1)
  assert.equal(JSON.parse(stderr).error, "OutOfMemory")
  assert.ok(!existsSync(prepared) && !existsSync(to))
})

test("quantize, synth, merge and export", TIMEOUT, async () => {
  const to = join(folder, "to")
  const quantize = await refused(50_000, to, "quantize", "--model", model, "--backend", backend, "--out", to)
  assert.match(quantize.message, /\(the checkpoint\).*--out/)
  const config = join(folder, "config.json")
  writeFileSync(config, readFileSync(join(model, "config.json")))
  const dense = await refused(50_000, to, "synth", "--config", config, "--out", to)
  const packed = await refused(50_000, to, "synth", "--config", config, "--out", to, "--quantize", "nf4")
  assert.ok(packed.neededBytes < dense.neededBytes)
  assert.match(dense.message, /fewer --layers, or --quantize nf4/)
  const adapter = join(folder, "adapter")
  await graftOk(...training.slice(0, -1), adapter)
  const merging = ["merge", "--model", model, "--adapter", adapter, "--backend", backend, "--out", to]
  const merged = await refused(50_000, to, ...merging)
  const weights = statSync(join(model, "model.safetensors")).size
  assert.ok(Math.abs(merged.neededBytes / weights - 1) < 0.05, `${merged.neededBytes} of ${weights}`)
  for (const format of ["gguf", "peft"])
    await refused(1000, to, "export", "--format", format, "--model", model, "--adapter", adapter, "--out", to)
})

test("a download: what the cache lacks of a model and of a data set", TIMEOUT, async () => {
  const files = Object.fromEntries(
    readdirSync(model)
      .filter((name) => /\.(json|safetensors)$/.test(name))
      .map((name) => [name, new Uint8Array(readFileSync(join(model, name)))])
  )
  await using hub = await fakeHub({
    "models/org/huge": { files, claims: { "model.safetensors": 1e15 } },
    "datasets/org/huge": { files: { "train.jsonl": '{"text":"a"}\n' }, claims: { "train.jsonl": 1e15 } }
  })
  const home = join(folder, "hf")
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: "", XDG_CACHE_HOME: folder }
  const to = join(folder, "downloaded")
  const train = (name: string, data: string) =>
    start(["train", "--model", name, "--data", data, "--backend", backend, "--out", to, "--json"], { env }).outcome
  const errorOf = ({ code, stderr }: { readonly code: number | null; readonly stderr: string }) => {
    assert.equal(code, 1)
    assert.ok(!existsSync(to))
    return JSON.parse(stderr) as { error: string; message: string } // what --json says of an error
  }
  const ofModel = errorOf(await train("org/huge", rows))
  assert.equal(ofModel.error, "NotEnoughDisk")
  assert.match(
    ofModel.message,
    /are to be written \(what is to be fetched of org\/huge, 1\.00 PB .*; the checkpoints in .*downloaded, /
  )
  const fetched = () => hub.requests.filter(({ method }) => method === "GET").map(({ path }) => path)
  const noWeights = () =>
    assert.ok(!fetched().some((path) => path.includes("safetensors") || path.startsWith("storage")))
  noWeights()
  const generate = start(["generate", "--model", "org/huge", "--prompt", "a", "--backend", backend, "--json"], { env })
  const ofGenerate = errorOf(await generate.outcome)
  assert.match(ofGenerate.message, /1\.00 PB .* are to be written \(what is to be fetched of org\/huge\).*set HF_HOME/)
  // What is wrong with the run is said before its weights are fetched.
  const bad = join(folder, "bad.jsonl")
  writeFileSync(bad, '{"question":"a"}\n')
  assert.equal(errorOf(await train("org/huge", bad)).error, "MissingColumns")
  noWeights()
  assert.equal(errorOf(await train(model, "org/huge")).error, "NotEnoughDisk")

  // A plan fetches no weights.
  const planned = await start(["plan", "--model", "org/huge", "--data", rows, "--backend", backend, "--json"], { env })
    .outcome
  assert.equal(planned.code, 0, planned.stderr)
  const disk = jsonLines(planned.stdout).find(({ event }) => event === "Disk") as {
    fits: boolean
    needs: ReadonlyArray<{ what: string; bytes: number }>
  } // what --json says of the disk
  assert.equal(disk.fits, false)
  assert.match(disk.needs[0]!.what, /what is to be fetched of org\/huge/)
  assert.ok(disk.needs[0]!.bytes >= 1e15 && disk.needs[1]!.what === "the checkpoints")
})
