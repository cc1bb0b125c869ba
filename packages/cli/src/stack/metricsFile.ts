/** metrics.jsonl: a line a step, whole or not there. A run that goes on keeps the lines of the steps it keeps. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { TrainEvent } from "@graft/core"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"

type Step = Extract<TrainEvent, { readonly _tag: "Step" }>

export const metricsFile = (folder: string) => {
  const path = join(folder, "metrics.jsonl")
  const attempt = (act: () => void) => Effect.try({ try: act, catch: (cause) => fileError(path, "write", cause) })
  return {
    path,
    /** Keeps the steps up to `step`, 0 for a new run. */
    startAfter: (step: number) =>
      attempt(() => {
        const lines = step > 0 && existsSync(path) ? readFileSync(path, "utf8").split("\n") : []
        const kept = lines.filter((line) => stepOf(line) <= step)
        writeFileSync(path, kept.map((line) => `${line}\n`).join(""))
      }),
    add: ({ step, variant, loss, gradNorm, learningRate, tokens, tokensPerSecond }: Step) =>
      attempt(() =>
        appendFileSync(
          path,
          `${JSON.stringify({ step, variant, loss, gradNorm, learningRate, tokens, tokensPerSecond })}\n`
        )
      )
  }
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
