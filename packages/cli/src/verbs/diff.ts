/** `graft diff`: the first step and op where two recorded runs part. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import type { DiffInput } from "../commands/diff.ts"
import { InvalidInput, RunsPart } from "../problems.ts"
import { makeScreen } from "../show/Screen.ts"
import { readFlight } from "../stack/flightFile.ts"

type Steps = Effect.Success<ReturnType<typeof readFlight>>
interface Parting {
  readonly step: number
  readonly op: number
  readonly message: string
}

export const partingOf = (a: Steps, b: Steps): { readonly compared: number; readonly parting?: Parting } => {
  const other = new Map(b.map(({ step, ops }) => [step, ops]))
  const both = a.filter(({ step }) => other.has(step))
  for (const [compared, { step, ops }] of both.entries()) {
    const its = other.get(step) ?? []
    for (let op = 0; op < Math.max(ops.length, its.length); op++) {
      const [x, y] = [ops[op], its[op]]
      if (x !== undefined && y !== undefined && x[0] === y[0] && x[1] === y[1]) continue
      const at = `step ${step}, op ${op + 1} of ${Math.max(ops.length, its.length)}`
      const message =
        x === undefined || y === undefined
          ? `${at}: ${(x ?? y)?.[0]} in the ${x === undefined ? "second" : "first"} run only`
          : x[0] !== y[0]
            ? `${at}: the first run has ${x[0]}, the second ${y[0]}`
            : `${at}: ${x[0]} gives ${x[1]} in the first run and ${y[1]} in the second`
      return { compared, parting: { step, op: op + 1, message } }
    }
  }
  return { compared: both.length }
}

export const diff = Effect.fnUntraced(function* ({ first, second, json }: DiffInput) {
  const screen = makeScreen(json)
  for (const folder of [first, second]) {
    if (!existsSync(join(folder, "flight.jsonl")))
      return yield* new InvalidInput({
        message: `${folder} has no flight.jsonl: train with --record, then compare what the runs left in their folders`
      })
  }
  const { compared, parting } = partingOf(yield* readFlight(first), yield* readFlight(second))
  screen.event({ event: "Diff", equalSteps: compared, ...(parting === undefined ? {} : { parting }) })
  if (parting !== undefined) {
    const before =
      compared === 0
        ? ""
        : `; ${compared} ${compared === 1 ? "step" : "steps"} before it ${compared === 1 ? "is" : "are"} equal`
    return yield* new RunsPart({ message: `the runs part at ${parting.message}${before}` })
  }
  if (compared === 0) return yield* new InvalidInput({ message: `${first} and ${second} have no step in common` })
  screen.say(`equal in every op of ${compared} ${compared === 1 ? "step" : "steps"}`)
})
