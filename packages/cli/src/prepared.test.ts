/** The prepared file: the same bits with it and without, whole or absent after any kill, and refused where it is of another model. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { openModel } from "@graft/llama-loader"
import { FreeSpace } from "@graft/safetensors"
import { Effect } from "effect"
import { backends, fixtures, graft, graftOk, root, start, temporaryFolder } from "./commandUnderTest.ts"
import { asStored } from "./flags/modelFlags.ts"
import { findPrepared, usePrepared } from "./prepared/usePrepared.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = backends.at(-1)!
const TIMEOUT = { timeout: 60_000 }
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 6).join("\n"))
const of = (source: string, ...flags: ReadonlyArray<string>) => [
  ...["train", "--model", source, "--data", rows, "--backend", backend, "--compute", "f32", "--max-length", "32"],
  ...["--quantize", "nf4", "--double-quant", "--steps", "2", "--batch-size", "3", ...flags]
]
const adapterOf = (out: string) => readFileSync(join(out, "adapter_model.safetensors"))
const weightsOf = (prepared: string) => readFileSync(join(prepared, "model.safetensors"))

const plain = join(folder, "plain")
const kept = join(folder, "kept")
await graftOk(...of(model, "--prepared", "off", "--out", plain))

test("a run that makes the file, one that uses it and one without end with the same bytes", TIMEOUT, async () => {
  const [made, used] = [join(folder, "made"), join(folder, "used")]
  assert.match(await graftOk(...of(model, "--prepared", kept, "--out", made)), /prepared in .* kept in/)
  assert.match(await graftOk(...of(model, "--prepared", kept, "--out", used)), /from the prepared file in/)
  assert.deepEqual(adapterOf(made), adapterOf(plain))
  assert.deepEqual(adapterOf(used), adapterOf(plain))
  assert.deepEqual(readdirSync(kept).sort(), [
    "config.json",
    "model.safetensors",
    "model.safetensors.sha256",
    "prepared.json"
  ])
  // A run goes on from a checkpoint of one without the file: its weights have the same name.
  const resumed = await graftOk(...of(model, "--prepared", kept, "--out", plain, "--resume"))
  assert.match(resumed, /resumed after step 2/)
})

test("generate has the same answer with it", TIMEOUT, async () => {
  const generate = async (...flags: ReadonlyArray<string>) => {
    const said = await graftOk(
      ...["generate", "--model", model, "--prompt", "What", "-n", "6", "--backend", backend, "--json"],
      ...["--quantize", "nf4", "--double-quant", ...flags]
    )
    return said.replace(/"tokensPerSecond":[^}]*/, "")
  }
  assert.equal(await generate("--prepared", join(folder, "generate")), await generate("--prepared", "off"))
})

test("a file of another format, source or version, or what is none, is refused by what it is", TIMEOUT, async () => {
  const refused = async (wanted: RegExp, ...args: ReadonlyArray<string>) => {
    const { code, stderr } = await graft(...args, "--out", join(folder, "refused"))
    assert.equal(code, 1)
    assert.match(stderr, wanted)
  }
  const before = weightsOf(kept)
  await refused(
    /made as nf4 .*blocks of 64, and .*blocks of 128 is asked/,
    ...of(model, "--prepared", kept, "--block-size", "128")
  )
  await refused(
    /made from .*tiny-bpe, which has other weights than/,
    ...of(join(fixtures, "tiny-spm"), "--prepared", kept)
  )
  await refused(/it has no prepared.json and holds/, ...of(model, "--prepared", plain))
  const old = join(folder, "old")
  cpSync(kept, old, { recursive: true })
  const record = join(old, "prepared.json")
  writeFileSync(record, readFileSync(record, "utf8").replace('"version": 1', '"version": 0'))
  await refused(/is of version 0, and this Graft makes version 1/, ...of(model, "--prepared", old))
  writeFileSync(record, "{")
  await refused(/prepared.json cannot be read/, ...of(model, "--prepared", old))
  await refused(/--prepared .* is for the dense weights/, ...of(kept, "--prepared", old))
  assert.deepEqual(weightsOf(kept), before)
})

test(
  "a file that is damaged is refused by what is wrong; what a killed removal left is made anew",
  TIMEOUT,
  async () => {
    const broken = join(folder, "broken")
    const made = () => {
      cpSync(kept, broken, { recursive: true, preserveTimestamps: true })
      return join(broken, "model.safetensors")
    }
    const words = of(model, "--prepared", broken, "--out", join(folder, "broken-out"))
    const refused = async (wanted: RegExp) => {
      const { code, stderr } = await graft(...words)
      assert.equal(code, 1)
      assert.match(stderr, wanted)
      assert.ok(!existsSync(join(folder, "broken-out")))
      rmSync(broken, { recursive: true })
    }
    truncateSync(made(), 10_000)
    await refused(
      /--prepared .*broken: the file is damaged: .*model\.safetensors is not a sound .*Remove the folder, and/
    )
    const weights = made()
    const bytes = readFileSync(weights)
    bytes[bytes.lastIndexOf('{"quant_type')] = 0
    writeFileSync(weights, bytes)
    await refused(/quant_state\.bitsandbytes__nf4 in .*broken.model\.safetensors: is no quant_state/)
    rmSync(made())
    await refused(/has no model\.safetensors/)
    made()
    rmSync(join(broken, "config.json"))
    assert.match(await graftOk(...words), /prepared in .*broken/)
    assert.deepEqual(weightsOf(broken), weightsOf(kept))
  }
)

test("the lock of a process that was killed when all was made goes with the next start", TIMEOUT, async () => {
  const lock = join(kept, ".lock")
  const dead = spawnSync(process.execPath, ["--version"]).pid
  writeFileSync(lock, JSON.stringify({ pid: dead, host: hostname(), began: "", since: "2026-01-01" }))
  assert.match(await graftOk(...of(model, "--prepared", kept, "--out", join(folder, "l"))), /from the prepared file/)
  assert.ok(!existsSync(lock))
})

test("a copy of the source is known by its content; one that was changed is another", TIMEOUT, async () => {
  const copy = join(folder, "copy")
  cpSync(model, copy, { recursive: true })
  const weights = join(copy, "model.safetensors")
  utimesSync(weights, 1, 1)
  assert.match(await graftOk(...of(copy, "--prepared", kept, "--out", join(folder, "c"))), /from the prepared file/)
  const bytes = readFileSync(weights)
  bytes[bytes.length - 9]! ^= 1 // no sample looks there
  writeFileSync(weights, bytes)
  const { stderr } = await graft(...of(copy, "--prepared", kept, "--out", join(folder, "c")))
  assert.match(stderr, /whose files have another size, time or content/)
  // In the cache it is made anew instead.
  const env = { XDG_CACHE_HOME: join(folder, "cache") }
  const cached = (source: string) =>
    start(of(source, "--weights-memory", "1MB", "--out", join(folder, "w")), { env }).outcome
  cpSync(join(model, "model.safetensors"), weights)
  assert.match((await cached(copy)).stdout, /prepared in/)
  assert.match((await cached(copy)).stdout, /from the prepared file/)
  assert.deepEqual(adapterOf(join(folder, "w")), adapterOf(plain))
  writeFileSync(weights, bytes)
  assert.match((await cached(copy)).stdout, /prepared in/)
  assert.equal(readdirSync(join(folder, "cache/graft/prepared")).length, 1)
})

test("two at once make it once", TIMEOUT, async () => {
  const shared = join(folder, "shared")
  const outs = ["one", "two", "three"].map((name) => join(folder, name))
  const said = await Promise.all(outs.map((out) => graftOk(...of(model, "--prepared", shared, "--out", out))))
  assert.equal(said.filter((text) => text.includes("prepared in")).length, 1)
  for (const out of outs) assert.deepEqual(adapterOf(out), adapterOf(plain))
  assert.deepEqual(weightsOf(shared), weightsOf(kept))
})

test("killed at any time, the file is whole or absent, and the run ends with the same bytes", TIMEOUT, async () => {
  const [prepared, out] = [join(folder, "killed"), join(folder, "killed-out")]
  const words = of(model, "--prepared", prepared, "--out", out)
  const since = performance.now()
  await graftOk(...of(model, "--prepared", join(folder, "timed"), "--out", join(folder, "timed-out")))
  const life = performance.now() - since
  for (let kill = 0; kill < 6; kill++) {
    const running = start(words)
    // The second half of a run is what writes.
    await new Promise((resolve) => setTimeout(resolve, life * (0.4 + 0.1 * kill + 0.05 * Math.random())))
    running.signal("SIGKILL")
    await running.outcome
    if (existsSync(join(prepared, "config.json"))) assert.deepEqual(weightsOf(prepared), weightsOf(kept))
  }
  await graftOk(...words)
  assert.deepEqual(weightsOf(prepared), weightsOf(kept))
  assert.deepEqual(adapterOf(out), adapterOf(plain))
  assert.ok(!readdirSync(prepared).some((name) => /quantizing|part|lock/.test(name)))
})

const input = {
  ...asStored,
  ...({ backend: "reference", threads: undefined, isa: undefined, compute: undefined } as const),
  ...({ quantize: "nf4", doubleQuant: true } as const)
}
test("a disk without room is told before a byte is written", TIMEOUT, async () => {
  const prepared = join(folder, "no-room")
  const problem = await Effect.runPromise(
    Effect.flatMap(openModel(model), (opened) => Effect.flip(usePrepared(opened, { ...input, prepared }))).pipe(
      Effect.scoped,
      Effect.provideService(FreeSpace, () => 1000),
      Effect.provide(NodeServices.layer)
    )
  )
  assert.equal(problem._tag, "NotEnoughDisk")
  assert.match(
    problem.message,
    /10\d\.\d kB \(\d+,\d+ bytes\) are to be written \(the prepared file\), and the disk has 1.0 kB \(1,000 bytes\) free; make room/
  )
  assert.ok(!existsSync(prepared))
})
test("small models are quantised at each start, unless a place is named", TIMEOUT, async () => {
  const { isMade, model: found } = await Effect.runPromise(
    Effect.flatMap(openModel(model), (opened) => findPrepared(opened, { ...input })).pipe(
      Effect.scoped,
      Effect.provide(NodeServices.layer)
    )
  )
  assert.ok(isMade && found.preparedFrom === undefined)
})
