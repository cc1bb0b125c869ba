/** Where the time of a run's steps went: a table by op and kernel, and a trace for ui.perfetto.dev. */
import { writeFileSync } from "node:fs"
import { loadNative, type Profile, type ProfiledCommand } from "@graft/backend-cpu"
import { fileError } from "@graft/safetensors"
import { BATCH, OPTIMISER } from "@graft/trainer"
import { Effect } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { peakKind } from "../stack/peakKind.ts"
import { count, whole } from "./quantities.ts"
import type { Screen } from "./Screen.ts"
import { table } from "./table.ts"

export interface ProfileRow {
  readonly op: string
  readonly kernel: string
  readonly implementation: string
  readonly calls: number
  readonly seconds: number
  readonly flops: number
  readonly bytes: number
}
export interface StepsProfile {
  readonly steps: number
  /** Of the queue, from the begin of the first command to the end of the last. */
  readonly seconds: number
  /** In which the queue waited for commands. */
  readonly idleSeconds: number
  /** JavaScript's processor time from a step's first command to its last. */
  readonly enqueueSeconds: number
  /** By time, the longest first. */
  readonly rows: ReadonlyArray<ProfileRow>
}

/** A step ends where the optimiser has run; the first one is left out if there are more, for it touches memory first. */
export const profileOfSteps = (commands: ReadonlyArray<ProfiledCommand>): StepsProfile | undefined => {
  const isEnd = (i: number) => commands[i]!.op === OPTIMISER && commands[i + 1]?.op !== OPTIMISER
  const ends = commands.flatMap((_, i) => (isEnd(i) ? [i + 1] : []))
  const starts = [commands.findIndex(({ op }) => op === BATCH), ...ends.slice(0, -1)]
  const kept = ends.map((end, i) => commands.slice(starts[i], end)).slice(ends.length > 1 ? 1 : 0)
  const own = kept.flat()
  if (own.length === 0) return undefined
  const rows = new Map<string, ProfileRow>()
  for (const { op, kernel, implementation, flops, bytes, begin, end } of own) {
    const key = `${op}\n${kernel}\n${implementation}`
    const row = rows.get(key) ?? { op, kernel, implementation, calls: 0, seconds: 0, flops: 0, bytes: 0 }
    rows.set(key, {
      ...row,
      calls: row.calls + 1,
      seconds: row.seconds + end - begin,
      flops: row.flops + flops,
      bytes: row.bytes + bytes
    })
  }
  const seconds = own.at(-1)!.end - own[0]!.begin
  const busy = own.reduce((sum, { begin, end }) => sum + end - begin, 0)
  return {
    steps: kept.length,
    seconds,
    idleSeconds: seconds - busy,
    enqueueSeconds: kept.reduce((sum, step) => sum + step.at(-1)!.enqueuedAt - step[0]!.enqueuedAt, 0),
    rows: [...rows.values()].sort((a, b) => b.seconds - a.seconds)
  }
}

/** Trace Event Format (chrome://tracing, Perfetto): complete events in microseconds, names of process and thread before them. */
export const traceOf = (commands: ReadonlyArray<ProfiledCommand>): string => {
  const origin = commands[0]?.begin ?? 0
  const named = (what: string, name: string) =>
    JSON.stringify({ name: what, ph: "M", pid: 1, tid: 1, ts: 0, args: { name } })
  const rate = (work: number, seconds: number) => (seconds > 0 ? work / seconds / 1e9 : 0)
  const events = commands.map(({ kernel, op, implementation, shapes, flops, bytes, begin, end }) =>
    JSON.stringify({
      name: kernel,
      cat: op === "" ? "load" : op, // before the first op of a tape
      ph: "X",
      pid: 1,
      tid: 1,
      ts: (begin - origin) * 1e6,
      dur: (end - begin) * 1e6,
      args: { op, implementation, shapes, GFLOPs: rate(flops, end - begin), GBs: rate(bytes, end - begin) }
    })
  )
  const all = [named("process_name", "graft"), named("thread_name", "the queue's commands"), ...events]
  return `{"displayTimeUnit":"ms","traceEvents":[\n${all.join(",\n")}\n]}\n`
}

export const showProfile = Effect.fnUntraced(function* (
  screen: Screen,
  profile: Profile,
  input: Pick<TrainInput, "threads" | "isa"> & { readonly compute: string },
  path: string
) {
  const commands = profile.collect()
  const steps = profileOfSteps(commands)
  if (steps === undefined) return
  const native = loadNative()
  const { cores, isa } = native.info()
  const threads = input.threads ?? cores
  const used = input.isa ?? isa
  // Where bf16 is not multiplied, it is widened, and f32's peak is the ceiling.
  const kind =
    peakKind(native, input.compute === "bf16" ? "bf16" : "f32", used) ?? peakKind(native, "f32", used) ?? "f32.scalar"
  const peak = native.peak(kind, threads, 100)
  const share = (seconds: number) => `${((100 * seconds) / steps.seconds).toFixed(1)} %`
  const line = ({ op, kernel, implementation, calls, seconds, flops, bytes }: ProfileRow) => [
    op,
    kernel,
    implementation,
    whole(calls / steps.steps),
    ((1000 * seconds) / steps.steps).toFixed(1),
    flops > 0 ? (flops / seconds / 1e9).toFixed(1) : "",
    (bytes / seconds / 1e9).toFixed(1),
    share(seconds)
  ]
  screen.say(
    table([["op", "kernel", "runs as", "calls", "ms a step", "GFLOP/s", "GB/s", "share"], ...steps.rows.map(line)])
  )
  const flops = steps.rows.reduce((sum, row) => sum + row.flops, 0)
  const arithmetic = steps.rows.filter((row) => row.flops > 0).reduce((sum, row) => sum + row.seconds, 0)
  screen.say(
    `  a step: ${((1000 * steps.seconds) / steps.steps).toFixed(0)} ms, ${count(flops / steps.steps)}FLOP at ${count(flops / steps.seconds)}FLOP/s, ` +
      `${((100 * flops) / steps.seconds / peak).toFixed(0)} % of the ${count(peak)}FLOP/s that ${kind} makes in registers on ${threads} threads`
  )
  screen.say(
    `  products and attention ${share(arithmetic)}; all else ${share(steps.seconds - arithmetic)}, of it waiting for commands ${share(steps.idleSeconds)}; enqueuing ${share(steps.enqueueSeconds)} of a step's time, beside it`
  )
  yield* Effect.try({
    try: () => writeFileSync(path, traceOf(commands)),
    catch: (cause) => fileError(path, "write", cause)
  })
  screen.say(`  trace: ${path}, for ui.perfetto.dev`)
  screen.event({ event: "Profile", ...steps, peak, peakKind: kind, trace: path })
})
