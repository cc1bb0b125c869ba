/** What a user may rely on: sweeps equal single runs, damage is seen, folders are locked, runs can be compared. */
import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, root, start, temporaryFolder } from "./commandUnderTest.ts"
import { InvalidInput } from "./problems.ts"
import { sweepOf } from "./stack/sweepLayer.ts"
import { partingOf } from "./verbs/diff.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 24).join("\n"))
const TIMEOUT = { timeout: 120_000 }
const backend = backends.at(-1)!
const base = [
  "--model",
  model,
  "--data",
  rows,
  "--backend",
  backend,
  "--compute",
  "f32",
  "--max-length",
  "48",
  "-b",
  "4"
]
const adapterIn = (...path: ReadonlyArray<string>) => readFileSync(join(folder, ...path, "adapter_model.safetensors"))

test("each adapter of a sweep is, byte for byte, the one trained alone", TIMEOUT, async () => {
  const flags = [...base, "--steps", "3", "--lora-dropout", "0.1", "--neftune-alpha", "5", "--eval-fraction", "0.2"]
  const out = join(folder, "ranks")
  const said = await graftOk("train", ...flags, "--sweep", "rank=2,8", "--out", out)
  assert.match(said, /^step 3\/3 .*rank=8$/m)
  assert.match(said, /each adapter has a folder of its own/)
  for (const rank of ["2", "8"]) {
    await graftOk("train", ...flags, "--rank", rank, "--out", join(folder, `rank-${rank}`))
    assert.deepEqual(adapterIn("ranks", `rank=${rank}`), adapterIn(`rank-${rank}`))
  }
  const lines = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
  assert.deepEqual(
    lines.flatMap(({ step, variant, evalLoss }) => (evalLoss === undefined ? [] : `${step} ${variant}`)),
    ["0 rank=2", "0 rank=8", "3 rank=2", "3 rank=8"]
  )
  assert.deepEqual(
    lines.filter(({ loss }) => loss !== undefined).map(({ step, variant }) => `${step} ${variant}`),
    ["1 rank=2", "1 rank=8", "2 rank=2", "2 rank=8", "3 rank=2", "3 rank=8"]
  )
  assert.match(readFileSync(join(out, "report.html"), "utf8"), /rank=2 training.*rank=8 training/s)
})
test("what a sweep takes", () => {
  assert.deepEqual(sweepOf("lr=1e-4, 2e-4"), {
    key: "learningRate",
    values: [
      ["lr=1e-4", 1e-4],
      ["lr=2e-4", 2e-4]
    ]
  })
  for (const wrong of ["lr", "lr=1e-4", "rank=8,8", "rank=8,0", "rank=8,x", "rank=8,", "seed=1,2", "alpha=1=2,3"])
    assert.throws(() => sweepOf(wrong), InvalidInput, wrong)
})

test("graft diff names the first step and op where two recorded runs part", TIMEOUT, async () => {
  const run = async (name: string, ...flags: ReadonlyArray<string>) => {
    await graftOk("train", ...base, "--steps", "3", "--record", "--out", join(folder, name), ...flags)
    return join(folder, name)
  }
  const one = await run("one")
  const other = await run("other", "--schedule", "linear")
  assert.match(await graftOk("diff", one, await run("two")), /^equal in every op of 3 steps$/m)
  const { code, stderr } = await graft("diff", one, other)
  assert.equal(code, 1)
  assert.match(
    stderr,
    /the runs part at step 2, op \d+ of \d+: \S*adam\S* gives [0-9a-f]{16} in the first run .*; 1 step before it is equal/i
  )
  assert.match((await graft("diff", one, model)).stderr, /has no flight\.jsonl: train with --record/)
})
test("partings: another op, one op more, no common step", () => {
  const steps = (...ops: ReadonlyArray<readonly [string, string]>) => [{ step: 4, ops }]
  const a = steps(["gemm", "1"], ["add", "2"])
  assert.deepEqual(partingOf(a, a), { compared: 1 })
  assert.match(
    partingOf(a, steps(["gemm", "1"], ["rope", "2"])).parting!.message,
    /op 2 of 2: the first run has add, the second rope/
  )
  assert.match(partingOf(a, steps(["gemm", "1"])).parting!.message, /op 2 of 2: add in the first run only/)
  assert.deepEqual(partingOf(a, [{ step: 5, ops: [] }]), { compared: 0 })
})

test(
  "a damaged checkpoint: the one before it is used and named, and the end is that of the unbroken run",
  TIMEOUT,
  async () => {
    const flags = [...base, "--steps", "6", "--weight-decay", "0.1"]
    await graftOk("train", ...flags, "--out", join(folder, "unbroken"))
    const out = join(folder, "damaged")
    const running = start(["train", ...flags, "--save-every", "1", "--out", out], {
      onOutput: (said) => {
        if (/as of step 3$/m.test(said)) running.signal("SIGKILL")
      }
    })
    await running.outcome
    if (!existsSync(join(out, "state", "0.bin"))) assert.fail(readdirSync(out).join(" "))
    truncateSync(join(out, "state", "0.bin"), 100)
    const said = await graftOk("train", ...flags, "--out", out, "--resume")
    assert.match(said, /warning +\S+state\/0\.bin is damaged; the checkpoint before it, of step \d, is used/)
    assert.match(said, /^resumed after step \d$/m)
    assert.deepEqual(adapterIn("damaged"), adapterIn("unbroken"))
  }
)
test("another model of the same name and shape is not gone on with", TIMEOUT, async () => {
  const { cpSync } = await import("node:fs")
  const own = join(folder, "own-model")
  cpSync(model, own, { recursive: true })
  const out = join(folder, "content")
  const flags = ["--data", rows, ...base.slice(4), "--steps", "2", "--out", out]
  await graftOk("train", "--model", model, ...flags)
  assert.match(
    await graftOk("train", "--model", own, ...flags, "--resume"),
    /resumed after step 2/,
    "it lies elsewhere"
  )
  const weights = join(own, "model.safetensors")
  const bytes = readFileSync(weights)
  bytes[bytes.length - 9]! ^= 1
  writeFileSync(weights, bytes)
  const { code, stderr } = await graft("train", "--model", own, ...flags, "--resume")
  assert.equal(code, 1)
  assert.match(stderr, /was made by another run, with other model/)
})
test("two runs do not share a folder; the lock of a run that was killed is taken over", TIMEOUT, async () => {
  const out = join(folder, "locked")
  await graftOk("train", ...base, "--steps", "1", "--out", out)
  const owner = { pid: process.pid, host: hostname(), began: "", since: "today" }
  writeFileSync(join(out, ".lock"), JSON.stringify(owner))
  const { code, stderr } = await graft("train", ...base, "--steps", "1", "--out", out)
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`another run is using .* \\(process ${process.pid}, since today\\)`))
  writeFileSync(join(out, ".lock"), JSON.stringify({ ...owner, pid: 2 ** 22 + 99 }))
  await graftOk("train", ...base, "--steps", "1", "--out", out)
  assert.ok(!existsSync(join(out, ".lock")))
})
test("a second Ctrl-C ends a run at once", TIMEOUT, async () => {
  const out = join(folder, "twice")
  const slow = ["--model", model, "--data", rows, "--backend", "reference", "--max-length", "200", "--batch-size", "24"]
  let asked = 0
  const running = start(["train", ...slow, "--steps", "50", "--out", out], {
    onOutput: (said) => {
      if (asked === 0 && /^plan /m.test(said)) {
        asked = 1
        running.signal("SIGINT")
      } else if (asked === 1 && /^stopping: /m.test(said)) {
        asked = 2
        running.signal("SIGINT")
      }
    }
  })
  const { code } = await running.outcome
  assert.equal(code, 130)
  assert.ok(!existsSync(join(out, "state")))
})
test("a seed beyond the generator's 32 bits is refused by its flag", TIMEOUT, async () => {
  const { code, stderr } = await graft("train", ...base, "--seed", String(2 ** 32), "--out", join(folder, "seed"))
  assert.equal(code, 1)
  assert.match(stderr, /seed.*from 0 to 4294967295: the random generator takes 32 bits/s)
})
