/** `graft plan`: what the same flags would take as a run. */
import { Trainer } from "@graft/core"
import { Effect } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { showData, showModel } from "../show/findings.ts"
import { makeScreen } from "../show/Screen.ts"
import { showPlan } from "../show/trainEvents.ts"
import { prepareRun } from "../stack/prepareRun.ts"

export const plan = Effect.fnUntraced(function* (input: TrainInput) {
  const screen = makeScreen(input.json)
  const { model, data, stack } = yield* prepareRun(input)
  showModel(screen, model)
  showData(screen, data.report)
  yield* Effect.provide(
    Effect.gen(function* () {
      const planned = yield* (yield* Trainer).plan
      showPlan(screen, planned)
    }),
    stack
  )
}, Effect.scoped)
