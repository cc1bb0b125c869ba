/**
 * What a run leaves in its folder beside the adapter: recipe.yaml before the first step, a line a step and an evaluation in metrics.jsonl,
 * TensorBoard's events where they are asked for, report.html at the end.
 */
import { basename, join, resolve } from "node:path"
import type { TrainEvent } from "@graft/core"
import { fileError, replaceFile } from "@graft/safetensors"
import { Effect } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { recipeText, resolvedRecipe } from "../recipe/resolvedRecipe.ts"
import { peakMemory } from "../show/peakMemory.ts"
import { runtimeName } from "../show/runtimeName.ts"
import { flightFile } from "../stack/flightFile.ts"
import { type Metric, metricsFile } from "../stack/metricsFile.ts"
import { version } from "../version.ts"
import { eventFile } from "./eventFile.ts"
import { emptyRecord, record } from "./RunRecord.ts"
import { reportOf } from "./reportOf.ts"
import { reportPage } from "./reportPage.ts"

const file = (path: string, text: string) => replaceFile(path, [new TextEncoder().encode(text)])

/** `resolved`: what the run settled where the flags say nothing. */
export const runFolder = (out: string, input: TrainInput, resolved: Partial<TrainInput>) => {
  const run = emptyRecord()
  const metrics = metricsFile(out)
  const flights = flightFile(out)
  const began = performance.now()
  const reportPath = join(out, "report.html")
  /** Evaluations before the first step: until then the folder stays as it is. */
  const early: Array<Metric> = []
  let recipe = ""
  let board: ReturnType<typeof eventFile> | undefined
  let open = false

  const openFiles = (after: number) =>
    Effect.gen(function* () {
      if (open) return
      open = true
      for (const metric of yield* metrics.startAfter(after)) record(run, metric)
      for (const metric of early.splice(0)) yield* metrics.add(metric)
      if (input.record) yield* flights.startAfter(after)
      const { compute } = run.plan ?? {}
      recipe = recipeText(
        resolvedRecipe(input, { ...resolved, ...(compute === "f32" || compute === "bf16" ? { compute } : {}) }),
        version()
      )
      yield* file(join(out, "recipe.yaml"), recipe)
      if (!input.tensorboard) return
      const folder = join(out, "tensorboard")
      board = yield* Effect.try({ try: () => eventFile(folder), catch: (cause) => fileError(folder, "write", cause) })
    })
  const scalars = (step: number, values: Readonly<Record<string, number>>) =>
    Effect.try({
      try: () => board?.scalars(step, values),
      catch: (cause) => fileError(board?.path ?? out, "write", cause)
    })
  const report = () =>
    file(
      reportPath,
      reportPage(
        reportOf(run, {
          title: basename(resolve(out)),
          seconds: (performance.now() - began) / 1000,
          processPeakBytes: peakMemory(),
          recipe,
          versions: `graft ${version()}\n${runtimeName()} on ${process.platform}-${process.arch}\n${run.plan?.parts.join("\n") ?? ""}`
        })
      )
    )
  return {
    metricsPath: metrics.path,
    reportPath,
    /** In the order of the run. */
    take: (event: TrainEvent) =>
      Effect.gen(function* () {
        record(run, event)
        switch (event._tag) {
          case "Resume":
            return yield* openFiles(event.step)
          case "Step": {
            yield* openFiles(0)
            yield* metrics.add(event)
            const { step, loss, gradNorm, learningRate, tokensPerSecond } = event
            const of = event.variant === undefined ? "train" : `${event.variant}/train`
            return yield* scalars(step, {
              [`${of}/loss`]: loss,
              [`${of}/grad_norm`]: gradNorm,
              [`${of}/learning_rate`]: learningRate,
              [`${of}/tokens_per_second`]: tokensPerSecond
            })
          }
          case "Flight":
            return yield* flights.add(event)
          case "Eval": {
            if (open) yield* metrics.add(event)
            else early.push(event)
            const of = event.variant === undefined ? "eval" : `${event.variant}/eval`
            const { loss, perplexity, accuracy } = event
            return yield* scalars(event.step, {
              [`${of}/loss`]: loss,
              [`${of}/perplexity`]: perplexity,
              [`${of}/accuracy`]: accuracy
            })
          }
          case "Done":
            return yield* report()
        }
      })
  }
}
