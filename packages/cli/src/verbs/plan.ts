/** `graft plan`: what the same flags would take as a run: memory to the byte, time as an estimate. */
import { loadNative } from "@graft/backend-cpu"
import { ModelLoader, Trainer } from "@graft/core"
import { Effect } from "effect"
import type { PlanInput } from "../flags/planFlags.ts"
import { showData, showModel } from "../show/findings.ts"
import { count, duration } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { showPlan } from "../show/trainEvents.ts"
import { preparePlan } from "../stack/prepareRun.ts"
import { workOfStep } from "../stack/workOfStep.ts"

/** What a step reaches of the register-only peak: 0.87 for SmolLM2-135M, 300 tokens, in f32 on two Zen 3 threads. */
const REACHED = 0.8
/** Steps whose work is averaged. */
const SAMPLE = 64

export const plan = Effect.fnUntraced(function* (input: PlanInput) {
  const screen = makeScreen(input.json)
  const { model, data, steps, stack } = yield* preparePlan(input)
  showModel(screen, model)
  if (data.report !== undefined) showData(screen, data.report)
  yield* Effect.provide(
    Effect.gen(function* () {
      const planned = yield* (yield* Trainer).plan
      showPlan(screen, planned)
      const { description } = yield* ModelLoader
      const options = { ...planned, trainsBase: input.full, checkpointing: input.checkpointing }
      const sampled = Math.min(steps, SAMPLE)
      let work = 0
      for (let step = 1; step <= sampled; step++)
        work += workOfStep(description, model.config, data.batches(step), options)
      const perStep = work / sampled
      const peak = input.backend === "cpu" ? peakOf(planned.compute, input) : undefined
      const seconds = peak === undefined ? undefined : perStep / (REACHED * peak)
      screen.say(
        `  time           ${count(perStep)}FLOP a step${
          seconds === undefined || peak === undefined
            ? ""
            : `; at ${100 * REACHED} % of the ${count(peak)}FLOP/s measured now about ${duration(seconds)} a step, ${duration(seconds * steps)} in all`
        }`
      )
      screen.event({ event: "Time", operationsPerStep: perStep, peak: peak ?? null, secondsPerStep: seconds ?? null })
    }),
    stack
  )
}, Effect.scoped)

const peakOf = (compute: string, { threads, isa }: PlanInput): number => {
  const native = loadNative()
  const { peaks, cores, isa: best } = native.info()
  const used = isa ?? best
  const kinds = peaks.filter((kind) => used.startsWith(kind.slice(kind.indexOf(".") + 1)))
  const kind = kinds.findLast((k) => k.startsWith(`${compute}.`)) ?? kinds.at(-1) ?? "f32.scalar"
  return native.peak(kind, threads ?? cores, 100)
}
