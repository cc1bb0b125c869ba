/** `graft bench`: a training step of one 7B-shaped layer, on one thread and all, as a share of the register-only peak. */
import { loadNative } from "@graft/backend-cpu"
import { Effect } from "effect"
import type { BenchInput } from "../commands/bench.ts"
import { InvalidInput } from "../problems.ts"
import { keepRates } from "../rates/keptRates.ts"
import { bytes, count } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { table } from "../show/table.ts"
import { type LayerBench, measureLayer } from "../stack/measureLayer.ts"
import { peakKind } from "../stack/peakKind.ts"

const MILLISECONDS = 150
/** Tokens from which on a layer's rate says what longer ones reach. */
const ENOUGH = 256
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

export const bench = Effect.fnUntraced(function* (input: BenchInput) {
  const screen = makeScreen(input.json)
  const native = yield* Effect.try({
    try: loadNative,
    catch: (e) => new InvalidInput({ message: e instanceof Error ? e.message : String(e) })
  })
  const info = native.info()
  const isa = input.isa ?? info.isa
  const all = input.threads ?? info.cores
  const compute = isa.endsWith("bf16") ? ("bf16" as const) : ("f32" as const)
  const kind = peakKind(native, compute, isa) ?? "f32.scalar"
  const { tokens } = input
  const { read, copy } = native.bandwidth(all, MILLISECONDS)
  screen.say(`${info.model}, ${isa}; memory reads ${bytes(read)}/s, copies ${bytes(copy)}/s on ${all} threads`)
  screen.say(
    `a layer of Llama-2-7b, ${tokens} tokens, LoRA of rank 16 on all linears, ${compute}: forward, backward, AdamW`
  )

  const head = ["weights", "ops", "threads", "tokens/s", "GFLOP/s", "of peak", "all else", "enqueuing", "memory"]
  const rows: Array<ReadonlyArray<string>> = [head]
  const numbers = new Map<string, string>()
  let equal = true
  const nf4 = { weights: "nf4 + double quantization", threads: all, fused: true, recomputed: false } as const
  const dense = { ...nf4, weights: "dense bf16" } as const
  const runs: ReadonlyArray<Pick<LayerBench, "weights" | "threads" | "fused" | "recomputed">> = [
    nf4,
    ...(all > 1 ? [{ ...nf4, threads: 1 }] : []),
    dense,
    ...(input.recomputed ? [nf4, dense].map((run) => ({ ...run, recomputed: true })) : []),
    ...(input.composed ? [{ ...nf4, fused: false }] : [])
  ]
  for (const { weights, threads, fused, recomputed } of runs) {
    screen.live(`${weights}, ${threads} threads`)
    yield* Effect.sleep(0) // the measurements block: let the line out first
    const before = native.peak(kind, threads, MILLISECONDS)
    const measured = yield* measureLayer({ weights, compute, tokens, threads, isa, fused, recomputed, steps: 1 })
    const peak = (before + native.peak(kind, threads, MILLISECONDS)) / 2
    if (fused && !recomputed && threads === all && tokens >= ENOUGH && weights !== "dense bf16")
      yield* keepRates(
        { processor: info.model, isa, threads },
        { peak: { [compute]: peak }, products: { [compute]: measured.rate / (1 - measured.elseShare) }, memory: read }
      )
    const { rate, tokensPerSecond, elseShare, enqueueShare } = measured
    const bits = JSON.stringify(measured.numbers)
    if (fused) equal &&= bits === (numbers.get(weights) ?? bits)
    if (fused) numbers.set(weights, bits)
    const ops = `${fused ? "fused" : "composed"}${recomputed ? ", recomputed" : ""}`
    rows.push([
      ...[weights, ops, String(threads), tokensPerSecond.toFixed(1), (rate / 1e9).toFixed(1), percent(rate / peak)],
      ...[percent(elseShare), percent(enqueueShare), bytes(measured.bytes)]
    ])
    screen.event({ event: "Layer", weights, ops, threads, tokens, compute, isa, ...measured, peak, peakKind: kind })
  }
  screen.live("")
  screen.say(table(rows))
  screen.say(`  peak: ${kind} in registers, ${count(native.peak(kind, all, MILLISECONDS))}FLOP/s now on ${all} threads`)
  if (all > 1)
    screen.say(`  loss and gradient norm have ${equal ? "the same" : "DIFFERENT"} bits for 1 and ${all} threads`)
  screen.event({ event: "Machine", processor: info.model, isa, cores: info.cores, read, copy, equalBits: equal })
})
