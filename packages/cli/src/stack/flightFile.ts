/**
 * flight.jsonl: the flight recorder's record, a line a step: { step, ops?, hashes }. `hashes` are those of the ops' outputs,
 * 16 hexadecimal digits each, end to end; `ops` are the ops' names, left out where they are those of the line before.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { TrainEvent } from "@graft/core"
import { fileError } from "@graft/safetensors"
import { Effect, Schema } from "effect"
import { InvalidInput } from "../problems.ts"

type Flight = Extract<TrainEvent, { readonly _tag: "Flight" }>
const DIGITS = 16
const NAME = "flight.jsonl"

const Line = Schema.fromJsonString(
  Schema.Struct({
    step: Schema.Int,
    ops: Schema.optionalKey(Schema.Array(Schema.String)),
    hashes: Schema.String.check(Schema.isPattern(/^([0-9a-f]{16})*$/))
  })
)
const decode = Schema.decodeUnknownEffect(Line)

export const flightFile = (folder: string) => {
  const path = join(folder, NAME)
  const attempt = (act: () => void) => Effect.try({ try: act, catch: (cause) => fileError(path, "write", cause) })
  let names = ""
  return {
    path,
    /** Keeps the steps up to `step`, 0 for a new run. */
    startAfter: (step: number) =>
      Effect.gen(function* () {
        const kept = step > 0 && existsSync(path) ? yield* readFlight(folder) : []
        yield* attempt(() => writeFileSync(path, ""))
        for (const one of kept) if (one.step <= step) yield* attempt(() => append(one))
      }),
    add: (flight: Flight) => attempt(() => append(flight))
  }
  function append({ step, ops }: Pick<Flight, "step" | "ops">): void {
    const own = JSON.stringify(ops.map(([op]) => op))
    const line = {
      step,
      ...(own === names ? {} : { ops: ops.map(([op]) => op) }),
      hashes: ops.map(([, h]) => h).join("")
    }
    names = own
    appendFileSync(path, `${JSON.stringify(line)}\n`)
  }
}

/** The steps of a record in order. A last line that was cut off as it was written is none. */
export const readFlight = Effect.fnUntraced(function* (folder: string) {
  const path = join(folder, NAME)
  const text = yield* Effect.try({ try: () => readFileSync(path, "utf8"), catch: (e) => fileError(path, "read", e) })
  const lines = text.split("\n")
  lines.pop()
  const steps: Array<Pick<Flight, "step" | "ops">> = []
  let names: ReadonlyArray<string> = []
  for (const [i, line] of lines.entries()) {
    const bad = (problem: string) =>
      new InvalidInput({
        message: `${path} line ${i + 1} is no step of a record: ${problem.replace(/\s*\n\s*/g, "; ")}`
      })
    const { step, ops = names, hashes } = yield* Effect.mapError(decode(line), (e) => bad(e.message))
    if (hashes.length !== DIGITS * ops.length)
      return yield* bad(`it has ${hashes.length / DIGITS} hashes for ${ops.length} ops`)
    names = ops
    steps.push({ step, ops: ops.map((op, at) => [op, hashes.slice(DIGITS * at, DIGITS * (at + 1))] as const) })
  }
  return steps
})
