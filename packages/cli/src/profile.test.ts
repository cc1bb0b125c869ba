/** `--profile` and `--fused`: what ran is told, and what runs can be chosen without another result. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { backends, fixtures, graft, graftOk, jsonLines, root, temporaryFolder } from "./commandUnderTest.ts"
import { profileOfSteps } from "./show/profileTable.ts"

const folder = temporaryFolder()
const base = [
  ...["train", "--model", join(fixtures, "tiny-bpe"), "--data", join(root, "examples/data/jargon.jsonl")],
  ...["--max-length", "32", "--batch-size", "4", "--steps", "3", "--compute", "f32"]
]
const TIMEOUT = { timeout: 120_000 }
const native = { ...TIMEOUT, skip: !backends.includes("cpu") }

test("steps are cut where the optimiser ends, and the first is left out", () => {
  const at = (op: string, begin: number, flops = 0) => ({
    ...{ op, kernel: "k", implementation: "avx2", shapes: "", flops, bytes: 8, enqueuedAt: begin },
    ...{ begin, end: begin + 1 }
  })
  const step = (from: number) => [at("batch", from), at("linear", from + 1, 6), at("optimiser", from + 3)]
  const { rows, ...rest } = profileOfSteps([at("load", 0), ...step(10), ...step(20), ...step(24)])!
  assert.deepEqual(rest, { steps: 2, seconds: 8, idleSeconds: 2, enqueueSeconds: 6 })
  assert.deepEqual(
    rows.map(({ op, calls, seconds, flops }) => ({ op, calls, seconds, flops })),
    [
      { op: "batch", calls: 2, seconds: 2, flops: 0 },
      { op: "linear", calls: 2, seconds: 2, flops: 12 },
      { op: "optimiser", calls: 2, seconds: 2, flops: 0 }
    ]
  )
  assert.equal(profileOfSteps([at("load", 0)]), undefined)
})

test("--profile: a table by op, a trace, and the figures for machines", native, async () => {
  const out = join(folder, "profiled")
  const said = await graftOk(...base, "--out", out, "--profile")
  assert.match(said, /op +kernel +runs as +calls +ms a step +GFLOP\/s +GB\/s +share/)
  assert.match(said, /loraLinear \(fused\) backward +gemm +\w+ +[\d,]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ %/)
  assert.match(said, /products and attention [\d.]+ %; all else [\d.]+ %.*enqueuing [\d.]+ %/)
  const { traceEvents } = JSON.parse(readFileSync(join(out, "trace.json"), "utf8")) as {
    traceEvents: ReadonlyArray<Record<string, unknown>>
  } // what traceOf writes; looked at below
  const [named, ran] = [traceEvents.filter(({ ph }) => ph === "M"), traceEvents.filter(({ ph }) => ph === "X")]
  assert.deepEqual(
    named.map(({ name }) => name),
    ["process_name", "thread_name"]
  )
  assert.ok(ran.length > 100 && named.length + ran.length === traceEvents.length)
  let last = 0
  for (const { name, cat, pid, tid, ts, dur, args } of ran) {
    assert.ok([name, cat].every((text) => typeof text === "string" && text !== ""))
    assert.ok([pid, tid, ts, dur].every((n) => typeof n === "number" && Number.isFinite(n) && n >= 0))
    assert.ok(Number(ts) >= last, "a thread's events follow one another: Perfetto drops those that overlap")
    last = Number(ts) + Number(dur) - 1e-3 // digits of a sum
    const values = Object.values(args as object)
    assert.ok(values.length === 5 && values.every((value) => typeof value === "string" || Number.isFinite(value)))
  }
  assert.ok(ran.some(({ name, cat }) => name === "attentionBackward" && cat === "attention backward"))
})

const implementationsIn = (plan: Record<string, unknown> | undefined) =>
  (plan?.implementations ?? []) as ReadonlyArray<{ readonly op: string; readonly implementation: string }> // the Plan event's

test("--fused off, some, on: the plan says which runs, losses and gradients are the same", native, async () => {
  const train = async (name: string, fused: string) => {
    const out = join(folder, name)
    const events = jsonLines(await graftOk(...base, "--out", out, "--fused", fused, "--json"))
    const plan = events.find(({ event }) => event === "Plan")
    const steps = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
    return {
      overrides: plan?.overrides,
      ops: new Map(implementationsIn(plan).map(({ op, implementation }) => [op, implementation])),
      page: readFileSync(join(out, "report.html"), "utf8"),
      numbers: steps.flatMap(({ loss, gradNorm }) => [Number(loss), Number(gradNorm)])
    }
  }
  const [off, one, on] = [await train("off", "off"), await train("one", "loraLinear"), await train("on", "on")]
  assert.deepEqual(off.overrides, [])
  assert.deepEqual(one.overrides, [{ op: "loraLinear", implementation: "fused" }])
  assert.ok(Array.isArray(on.overrides) && on.overrides.length >= 1)
  assert.deepEqual([...new Set(off.ops.values())], ["core"])
  assert.deepEqual(
    ["linear", "loraLinear", "loraQkv", "rope", "attention"].map((op) => one.ops.get(op)),
    [undefined, "fused", undefined, "core", "core"]
  )
  assert.deepEqual(
    ["linear", "loraLinear", "loraQkv", "rope", "attention"].map((op) => on.ops.get(op)),
    [undefined, "fused", "fused", "in place", "core"]
  )
  assert.match(off.page, /core: embedding, rmsNorm, linear/)
  assert.match(on.page, /fused: loraQkv, loraLinear, .*; in place: rope; core: embedding, /)
  assert.equal(off.numbers.length, 6)
  for (const { numbers } of [one, on])
    for (const [i, wanted] of off.numbers.entries())
      assert.ok(Math.abs(numbers[i]! / wanted - 1) < 1e-4, `${numbers} ${off.numbers}`)
  const { code, stderr } = await graft(...base, "--out", join(folder, "unknown"), "--fused", "linearr")
  assert.equal(code, 1)
  assert.match(stderr, /there is no fused linearr; expected on, off, or some of loraLinear/)
})

test("graft bench: each line has its rate and its peak, and threads do not change a bit", native, async () => {
  const events = jsonLines(await graftOk("bench", "--tokens", "3", "--threads", "3", "--recomputed", "--json"))
  const layers = events.filter(({ event }) => event === "Layer")
  assert.deepEqual(
    layers.map(({ weights, threads, ops }) => [weights, threads, ops]),
    [
      ["nf4 + double quantization", 3, "fused"],
      ["nf4 + double quantization", 1, "fused"],
      ["dense bf16", 3, "fused"],
      ["nf4 + double quantization", 3, "fused, recomputed"],
      ["dense bf16", 3, "fused, recomputed"]
    ]
  )
  for (const { rate, peak, tokensPerSecond, elseShare } of layers)
    for (const n of [rate, peak, tokensPerSecond, elseShare]) assert.ok(typeof n === "number" && n > 0)
  assert.deepEqual(layers[1]!.numbers, layers[0]!.numbers)
  assert.equal(events.at(-1)?.equalBits, true)
})
