/** What a run's record says, as the report shows it. */
import { implementationsText } from "../show/implementationsText.ts"
import { bytes, count, duration, rate, whole } from "../show/quantities.ts"
import type { RunRecord } from "./RunRecord.ts"
import type { Chart, ReportData } from "./reportPage.ts"

export interface RunAbout {
  readonly title: string
  readonly seconds: number
  readonly processPeakBytes: number | undefined
  readonly recipe: string
  readonly versions: string
}

export const reportOf = (run: RunRecord, about: RunAbout): ReportData => ({
  title: about.title,
  facts: factsOf(run, about),
  charts: chartsOf(run),
  samples: run.samples,
  recipe: about.recipe,
  versions: about.versions
})

const factsOf = (run: RunRecord, about: RunAbout): ReportData["facts"] => {
  const { plan, steps, evals, done } = run
  const [first, last] = [steps[0], steps.at(-1)]
  const [before, after] = [evals[0], evals.at(-1)]
  const facts: Array<readonly [string, string]> = []
  if (done !== undefined) facts.push(["steps", `${whole(done.steps)}${done.interrupted ? ", stopped" : ""}`])
  if (first !== undefined && last !== undefined)
    facts.push(["loss, first → last", `${first.loss.toFixed(4)} → ${last.loss.toFixed(4)}`])
  if (before !== undefined && after !== undefined)
    facts.push(
      ["held out, before → after", `${before.loss.toFixed(4)} → ${after.loss.toFixed(4)}`],
      ["perplexity", `${Math.exp(before.loss).toFixed(2)} → ${Math.exp(after.loss).toFixed(2)}`]
    )
  const tokens = steps.reduce((n, { tokens }) => n + tokens, 0)
  const seconds = steps.reduce((s, step) => s + step.tokens / step.tokensPerSecond, 0)
  if (seconds > 0) facts.push(["tokens", whole(tokens)], ["tokens/s", rate(tokens / seconds)])
  if (plan !== undefined) facts.push(["trained parameters", count(plan.trainableParameters)], ["compute", plan.compute])
  if (plan !== undefined) facts.push(["ops", implementationsText(plan.implementations)])
  if (done !== undefined)
    facts.push(["memory planned", bytes(done.plannedBytes)], ["memory taken", bytes(done.peakBytes)])
  if (about.processPeakBytes !== undefined) facts.push(["resident at most", bytes(about.processPeakBytes)])
  facts.push(["time", duration(about.seconds)])
  return facts
}

/** One curve for each adapter of a sweep, or one. */
const curvesOf = <Event extends { readonly step: number; readonly variant?: string }>(
  events: ReadonlyArray<Event>,
  label: string,
  at: ReadonlyArray<number>,
  pick: (event: Event) => number
): Chart["lines"] =>
  [...new Set(events.map(({ variant }) => variant))].map((variant) => {
    const own = new Map(events.filter((event) => event.variant === variant).map((event) => [event.step, event]))
    return {
      label: variant === undefined ? label : `${variant} ${label}`,
      values: at.map((step) => {
        const event = own.get(step)
        return event === undefined ? null : pick(event)
      })
    }
  })

const chartsOf = ({ steps, evals, plan }: RunRecord): ReadonlyArray<Chart> => {
  if (steps.length === 0) return []
  const stepsOf = (events: ReadonlyArray<{ readonly step: number }>): ReadonlyArray<number> =>
    [...new Set(events.map(({ step }) => step))].sort((a, b) => a - b)
  const [at, x] = [stepsOf([...steps, ...evals]), stepsOf(steps)]
  const xLabel = "step"
  return [
    {
      title: "Loss",
      x: at,
      xLabel,
      lines: [
        ...curvesOf(steps, "training", at, ({ loss }) => loss),
        ...curvesOf(evals, "held out", at, ({ loss }) => loss)
      ]
    },
    {
      title: "Learning rate",
      x,
      xLabel,
      unit: "exponent",
      lines: curvesOf(steps, "rate", x, ({ learningRate }) => learningRate)
    },
    { title: "Gradient norm", x, xLabel, lines: curvesOf(steps, "norm", x, ({ gradNorm }) => gradNorm) },
    {
      title: "Tokens per second",
      x,
      xLabel,
      lines: curvesOf(steps, "tokens/s", x, ({ tokensPerSecond }) => tokensPerSecond)
    },
    ...(evals.length === 0 ? [] : [accuracyChart(evals)]),
    ...(plan === undefined ? [] : memoryChart(plan))
  ]
}

const accuracyChart = (evals: RunRecord["evals"]): Chart => {
  const x = [...new Set(evals.map(({ step }) => step))].sort((a, b) => a - b)
  const lines = curvesOf(evals, "held out", x, ({ accuracy }) => accuracy)
  return { title: "Share of tokens ranked first", x, xLabel: "step", lines }
}

const memoryChart = ({ memoryOverStep }: NonNullable<RunRecord["plan"]>): ReadonlyArray<Chart> => {
  const lines = [...memoryOverStep].map(([label, values]) => ({ label, values }))
  const x = Array.from(lines[0]?.values ?? [], (_, i, all = lines[0]?.values ?? []) =>
    Math.round((100 * i) / Math.max(1, all.length - 1))
  )
  return [{ title: "Memory over a step", x, xLabel: "% of the step's ops", unit: "bytes", stacked: true, lines }]
}
