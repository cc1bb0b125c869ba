/**
 * metrics.jsonl: a line a step and a line an evaluation, whole or not there. A run that goes on keeps the lines of the steps
 * it keeps, and draws its report from them too.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { TrainEvent } from "@graft/core"
import { fileError } from "@graft/safetensors"
import { Effect, Option, Schema } from "effect"

export type Metric = Extract<TrainEvent, { readonly _tag: "Step" | "Eval" }>

const ofVariant = { step: Schema.Int, variant: Schema.optionalKey(Schema.String) }
const StepLine = Schema.Struct({
  ...ofVariant,
  loss: Schema.Finite,
  gradNorm: Schema.Finite,
  learningRate: Schema.Finite,
  tokens: Schema.Finite,
  tokensPerSecond: Schema.Finite
})
const EvalLine = Schema.Struct({
  ...ofVariant,
  evalLoss: Schema.Finite,
  evalPerplexity: Schema.Finite,
  evalAccuracy: Schema.Finite,
  evalTokens: Schema.Finite
})
const decodeStep = Schema.decodeUnknownOption(StepLine)
const decodeEval = Schema.decodeUnknownOption(EvalLine)

export const metricsFile = (folder: string) => {
  const path = join(folder, "metrics.jsonl")
  const attempt = <A>(act: () => A) => Effect.try({ try: act, catch: (cause) => fileError(path, "write", cause) })
  return {
    path,
    /** Keeps the lines up to `step`, 0 for a new run, and gives what they say. */
    startAfter: (step: number) =>
      attempt((): ReadonlyArray<Metric> => {
        const lines = step > 0 && existsSync(path) ? readFileSync(path, "utf8").split("\n") : []
        const kept = lines.filter((line) => stepOf(line) <= step)
        writeFileSync(path, kept.map((line) => `${line}\n`).join(""))
        return kept.flatMap((line) => metricOf(line) ?? [])
      }),
    add: (metric: Metric) => attempt(() => appendFileSync(path, `${JSON.stringify(lineOf(metric))}\n`))
  }
}

/** In the order in which a reader sees them. */
const lineOf = (metric: Metric) => {
  const { step, variant, loss, tokens } = metric
  if (metric._tag === "Eval") {
    const { perplexity, accuracy } = metric
    return { step, variant, evalLoss: loss, evalPerplexity: perplexity, evalAccuracy: accuracy, evalTokens: tokens }
  }
  const { gradNorm, learningRate, tokensPerSecond } = metric
  return { step, variant, loss, gradNorm, learningRate, tokens, tokensPerSecond }
}
const metricOf = (line: string): Metric | undefined => {
  const parsed: unknown = JSON.parse(line) // stepOf has read it
  const step = Option.getOrUndefined(decodeStep(parsed))
  if (step !== undefined) return TrainEvent.Step(step)
  const evaluation = Option.getOrUndefined(decodeEval(parsed))
  if (evaluation === undefined) return undefined
  const { evalLoss: loss, evalPerplexity: perplexity, evalAccuracy: accuracy, evalTokens: tokens, ...of } = evaluation
  return TrainEvent.Eval({ ...of, loss, perplexity, accuracy, tokens })
}

/** A line that was cut off while it was written belongs to no step. */
export const stepOf = (line: string): number => {
  try {
    const parsed: unknown = JSON.parse(line)
    return typeof parsed === "object" && parsed !== null && "step" in parsed && typeof parsed.step === "number"
      ? parsed.step
      : Infinity
  } catch {
    return Infinity
  }
}
