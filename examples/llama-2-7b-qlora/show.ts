/** A run's events as lines. */
import type { TrainEvent } from "@graft/core"
import { Effect } from "effect"

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

export const show = (description: string, out: string) => (event: TrainEvent) =>
  Effect.sync(() => {
    if (event._tag === "Plan") {
      const { memory, trainableParameters } = event
      console.log(`${description}: ${mb(memory.peakBytes)} planned, ${trainableParameters} parameters trained`)
      for (const [category, bytes] of memory.atPeak) console.log(`  ${category.padEnd(12)} ${mb(bytes).padStart(12)}`)
    }
    if (event._tag === "Resume") console.log(`goes on after step ${event.step}`)
    if (event._tag === "Step")
      console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}, ${event.tokensPerSecond.toFixed(1)} tokens/s`)
    if (event._tag === "Done") console.log(`${mb(event.peakBytes)} taken; the adapter lies in ${out}`)
  })
