/** `graft plan`: what the same flags would take as a run: memory to the byte, disk, time from the rates that doctor keeps. */
import { Trainer } from "@graft/core"
import type { Need } from "@graft/safetensors"
import { Effect } from "effect"
import type { PlanInput } from "../flags/planFlags.ts"
import { secondsOf } from "../rates/expectedTime.ts"
import { keptRates, machineOf, type Rates } from "../rates/keptRates.ts"
import { showData, showModel } from "../show/findings.ts"
import { fitTable } from "../show/fitTable.ts"
import { bytes, count, duration, rate } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { showPlan } from "../show/trainEvents.ts"
import { diskNeeds, requireDisk } from "../stack/diskNeeds.ts"
import { preparePlan } from "../stack/prepareRun.ts"
import { wayText } from "../stack/Way.ts"
import { totalOf } from "../stack/workOfStep.ts"
import { DEFAULT_OUT } from "./train.ts"

export const plan = Effect.fnUntraced(function* (input: PlanInput) {
  const began = performance.now()
  const screen = makeScreen(input.json)
  const { model, data, steps, stack, way, fit, stepAs, bytesStreamed, toFetch, toMake } = yield* preparePlan(input)
  showModel(screen, model)
  if (data.report !== undefined) showData(screen, data.report)
  yield* Effect.provide(
    Effect.gen(function* () {
      const planned = yield* (yield* Trainer).plan
      showPlan(screen, planned)
      const written = yield* diskNeeds(planned.disk, input, way, input.out ?? DEFAULT_OUT)
      yield* showDisk(screen, [toFetch, toMake, ...written])
      const { trainableParameters } = planned
      const compute = planned.compute === "bf16" ? "bf16" : "f32"
      const rates = input.backend === "cpu" ? yield* keptRates(machineOf(input)) : undefined
      const secondsAs = (one: typeof way): number | undefined => {
        if (rates === undefined) return undefined
        const step = stepAs(one, trainableParameters)
        const seconds = secondsOf(step.work, step.microBatches, rates, compute)
        const read = bytesStreamed(one, step)
        if (read === 0 || seconds === undefined) return seconds
        return rates.disk === undefined ? undefined : Math.max(seconds, read / rates.disk)
      }
      const { work, microBatches, tokens } = stepAs(way, trainableParameters)
      const seconds = secondsAs(way)
      screen.say(
        `  time           ${count(totalOf(work))}FLOP a step${expectation(seconds, tokens, steps, rates, input.backend)}`
      )
      screen.event({
        event: "Time",
        operationsPerStep: totalOf(work),
        tokensPerStep: tokens,
        microBatches,
        rates: rates ?? null,
        secondsPerStep: seconds ?? null,
        tokensPerSecond: seconds === undefined ? null : tokens / seconds
      })
      const planningSeconds = (performance.now() - began) / 1000
      screen.event({ event: "Planned", seconds: planningSeconds })
      if (fit === undefined) return screen.say(`  planned in ${planningSeconds.toFixed(1)} s`)
      const { layers } = model.config
      const rows = fit.others.map(({ way: one, bytes, cost }) => {
        const expected = secondsAs(one)
        return {
          bytes,
          text: wayText(one, layers),
          chosen: one === way,
          tokensPerSecond: expected === undefined ? undefined : tokens / expected,
          share: fit.chosen.cost / cost
        }
      })
      screen.say(fitTable(rows))
      screen.say(`  planned in ${planningSeconds.toFixed(1)} s`)
      screen.event({ event: "Fit", budget: input.memory, way, ways: rows })
    }),
    stack
  )
}, Effect.scoped)

/** What a run would write, and whether the disks have room for it now. */
const showDisk = Effect.fnUntraced(function* (screen: Screen, all: ReadonlyArray<Need | undefined>) {
  const needs = all.filter((need) => need !== undefined)
  const total = needs.reduce((sum, need) => sum + need.bytes, 0)
  const problem = yield* Effect.result(requireDisk(needs))
  const list = needs.map((need) => `${need.what} ${bytes(need.bytes)}`).join(", ")
  screen.say(`  disk           ${list}${needs.length > 1 ? `; ${bytes(total)} in all` : ""}`)
  const missing = problem._tag === "Failure" ? problem.failure : undefined
  if (missing !== undefined) screen.say(`  ${screen.style.warning("note")}: ${missing.message}`)
  screen.event({ event: "Disk", bytes: total, needs, fits: missing === undefined })
})

const expectation = (
  seconds: number | undefined,
  tokens: number,
  steps: number,
  rates: Rates | undefined,
  backend: string
): string => {
  if (backend !== "cpu") return ""
  if (rates === undefined || seconds === undefined) return "; no rates kept yet: run graft doctor"
  return `; by the rates of ${rates.measured.slice(0, 10)} about ${duration(seconds)} a step, ${rate(tokens / seconds)} tokens/s, ${duration(seconds * steps)} in all`
}
