/** `graft plan`: what the same flags would take as a run: memory to the byte, time from the rates that doctor keeps. */
import { Trainer } from "@graft/core"
import { Effect } from "effect"
import type { PlanInput } from "../flags/planFlags.ts"
import { secondsOf } from "../rates/expectedTime.ts"
import { keptRates, machineOf, type Rates } from "../rates/keptRates.ts"
import { showData, showModel } from "../show/findings.ts"
import { fitTable } from "../show/fitTable.ts"
import { count, duration, rate } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { showPlan } from "../show/trainEvents.ts"
import { preparePlan } from "../stack/prepareRun.ts"
import { wayText } from "../stack/Way.ts"
import { totalOf } from "../stack/workOfStep.ts"

export const plan = Effect.fnUntraced(function* (input: PlanInput) {
  const screen = makeScreen(input.json)
  const { model, data, steps, stack, way, fit, stepAs, bytesStreamed } = yield* preparePlan(input)
  showModel(screen, model)
  if (data.report !== undefined) showData(screen, data.report)
  yield* Effect.provide(
    Effect.gen(function* () {
      const planned = yield* (yield* Trainer).plan
      showPlan(screen, planned)
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
      if (fit === undefined) return
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
      screen.event({ event: "Fit", budget: input.memory, way, ways: rows })
    }),
    stack
  )
}, Effect.scoped)

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
