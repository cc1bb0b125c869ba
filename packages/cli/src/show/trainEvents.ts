/** A run's events, drawn for people or given to machines. */
import type { PageTraffic, TrainEvent } from "@graft/core"
import { implementationsText } from "./implementationsText.ts"
import { memoryTable } from "./memoryTable.ts"
import { peakMemory } from "./peakMemory.ts"
import { bytes, count, duration, rate, whole } from "./quantities.ts"
import type { Screen } from "./Screen.ts"

type Of<Tag extends TrainEvent["_tag"]> = Extract<TrainEvent, { readonly _tag: Tag }>

export const showPlan = (screen: Screen, plan: Of<"Plan">): void => {
  const { style } = screen
  const { steps, stepsPerEpoch, compute, trainableParameters, opsPerStep, implementations, parts, memory } = plan
  screen.say(
    `${style.strong("plan")}   ${whole(steps)} ${steps === 1 ? "step" : "steps"} (${whole(stepsPerEpoch)} an epoch) in ${compute}, ${count(trainableParameters)} parameters trained`
  )
  screen.say(`  parts: ${parts.join(", ")}`)
  screen.say(`  ${whole(opsPerStep)} ops a step; ${implementationsText(implementations)}`)
  screen.say(memoryTable(memory))
  screen.event(machineEvent(plan))
}

/** Maps and class instances as plain JSON. */
export const machineEvent = ({ _tag, ...event }: TrainEvent): Readonly<Record<string, unknown>> => ({
  event: _tag,
  ...event,
  ...("memoryOverStep" in event ? { memoryOverStep: Object.fromEntries(event.memoryOverStep) } : {}),
  ...("memory" in event
    ? {
        memory: {
          ...event.memory,
          atPeak: Object.fromEntries(event.memory.atPeak),
          byCategory: Object.fromEntries(event.memory.byCategory)
        }
      }
    : {})
})

/** Share of the old mean that a new step's time leaves: some ten steps matter. */
const MEMORY = 0.9
const BAR = 24

const bar = (share: number): string => {
  const full = Math.floor(Math.min(1, share) * BAR)
  return `${"█".repeat(full)}${"░".repeat(BAR - full)}`
}
/** About this many lines stay on a terminal; elsewhere each step is one. */
const LINES = 20

const sumOf = (a: PageTraffic | undefined, b: PageTraffic): PageTraffic => ({
  faults: (a?.faults ?? 0) + b.faults,
  hits: (a?.hits ?? 0) + b.hits,
  bytesIn: (a?.bytesIn ?? 0) + b.bytesIn,
  bytesOut: (a?.bytesOut ?? 0) + b.bytesOut,
  stallSeconds: (a?.stallSeconds ?? 0) + b.stallSeconds
})
const pagingLine = ({ faults, hits, bytesIn, bytesOut, stallSeconds }: PageTraffic): string =>
  `paging    ${whole(faults)} pages waited for, ${whole(hits)} there in time, ${bytes(bytesIn)} in, ${bytes(bytesOut)} out, ` +
  `${stallSeconds.toFixed(stallSeconds < 1 ? 3 : 1)} s stalled`

const streamingLine = ({ faults, hits, bytesIn, stallSeconds }: PageTraffic): string =>
  `streamed  ${bytes(bytesIn)} of weights read, ${whole(faults)} layers waited for, ${whole(hits)} there in time, ` +
  `${stallSeconds.toFixed(stallSeconds < 1 ? 3 : 1)} s stalled`

/** Draws one run. `loadBytes` is what a load has in all. */
export const trainReporter = (screen: Screen, run: { readonly steps: number; readonly loadBytes: number }) => {
  const { style } = screen
  const { steps, loadBytes } = run
  let last: Of<"Step"> | undefined
  let stepSeconds: number | undefined
  const firstEvals = new Map<string, number>()
  let paged: PageTraffic | undefined
  let streamed: PageTraffic | undefined

  const named = ({ variant }: { readonly variant?: string }): string => (variant === undefined ? "" : `  ${variant}`)
  const line = (event: Of<"Step">): string => `${plainLine(event)}${named(event)}`
  const plainLine = ({ step, loss, gradNorm, learningRate, tokensPerSecond }: Of<"Step">): string =>
    `step ${String(step).padStart(String(steps).length)}/${steps}  loss ${loss.toFixed(4)}  grad ${gradNorm.toFixed(3)}  ` +
    `lr ${learningRate.toExponential(2)}  ${rate(tokensPerSecond)} tokens/s`
  const live = (step: number, fraction: number): void => {
    const done = step - 1 + fraction
    const left = stepSeconds === undefined ? "" : `  ETA ${duration((steps - done) * stepSeconds)}`
    const now =
      last === undefined
        ? ""
        : `  loss ${last.loss.toFixed(4)}  lr ${last.learningRate.toExponential(2)}  ${rate(last.tokensPerSecond)} tokens/s`
    screen.live(`${bar(done / steps)} step ${step}/${steps} ${Math.round(100 * fraction)} %${now}${left}`)
  }

  return (event: TrainEvent): void => {
    if (event._tag === "Plan") return showPlan(screen, event)
    if (event._tag !== "Flight") screen.event(machineEvent(event)) // it stands in its file
    switch (event._tag) {
      case "Load":
        screen.live(`loading  ${bar(event.loadedBytes / loadBytes)} ${bytes(event.loadedBytes)}  ${event.path}`)
        break
      case "Resume":
        screen.say(`resumed after step ${event.step}`)
        break
      case "Progress":
        live(event.step, event.fraction)
        break
      case "Step": {
        const seconds = event.tokens / event.tokensPerSecond
        stepSeconds = stepSeconds === undefined ? seconds : MEMORY * stepSeconds + (1 - MEMORY) * seconds
        last = event
        if (!screen.terminal || event.step % Math.ceil(steps / LINES) === 0) screen.say(line(event))
        if (event.step < steps) live(event.step + 1, 0)
        break
      }
      case "Skipped":
        screen.say(
          `${style.warning("skipped")}   step ${event.step}${named(event)}: loss ${event.loss}${event.limit === undefined ? "" : `, above ${event.limit.toPrecision(4)}`}, gradient norm ${event.gradNorm} in ${event.rows.join(", ")}; nothing was changed`
        )
        break
      case "Paging":
        paged = sumOf(paged, event)
        break
      case "Streaming":
        streamed = sumOf(streamed, event)
        break
      case "Eval": {
        const { step, loss, perplexity, accuracy, tokens, variant = "" } = event
        const first = firstEvals.get(variant) ?? loss
        firstEvals.set(variant, first)
        const change = loss === first ? "" : ` (${(loss - first).toFixed(4)} since the start)`
        const text = `held out  loss ${loss.toFixed(4)}  perplexity ${perplexity.toFixed(2)}${change}  accuracy ${(100 * accuracy).toFixed(1)} %`
        screen.say(`${style.strong(text)}  after step ${step}, ${whole(tokens)} tokens${named(event)}`)
        break
      }
      case "Sample":
        screen.say(
          `sample    after step ${event.step}${named(event)}: ${event.prompt}\n  ${event.text.replaceAll("\n", "\n  ")}`
        )
        break
      case "Warning":
        screen.say(`${style.warning("warning")}   ${event.message}${named(event)}`)
        break
      case "Checkpoint":
        screen.say(
          event.best === undefined
            ? `saved     ${event.path} as of step ${event.step}`
            : `best      ${event.path} as of step ${event.step}, held out loss ${event.best.toFixed(4)}`
        )
        break
      case "Done": {
        if (event.early !== undefined)
          screen.say(`${style.strong("stopped early")} after step ${event.steps}: ${event.early}`)
        if (paged !== undefined) screen.say(pagingLine(paged))
        if (streamed !== undefined) screen.say(streamingLine(streamed))
        const process = peakMemory()
        const whole = process === undefined ? "" : `, the whole process ${bytes(process)}`
        screen.say(`memory    planned ${bytes(event.plannedBytes)}, taken ${bytes(event.peakBytes)}${whole}`)
        if (process === undefined) break
        const { plannedBytes, peakBytes: takenBytes } = event
        screen.event({ event: "Memory", plannedBytes, takenBytes, processPeakBytes: process })
      }
    }
  }
}
