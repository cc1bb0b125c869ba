/** What a report is drawn from: a run's events, gathered as they pass. */
import type { TrainEvent } from "@graft/core"

type Of<Tag extends TrainEvent["_tag"]> = Extract<TrainEvent, { readonly _tag: Tag }>

export interface Sample {
  readonly prompt: string
  readonly before: string
  readonly after: string
}
export interface RunRecord {
  plan?: Of<"Plan">
  resumedAfter?: number
  readonly steps: Array<Of<"Step">>
  readonly evals: Array<Of<"Eval">>
  done?: Of<"Done">
  samples: ReadonlyArray<Sample>
}

export const emptyRecord = (): RunRecord => ({ steps: [], evals: [], samples: [] })

export const record = (run: RunRecord, event: TrainEvent): void => {
  switch (event._tag) {
    case "Plan":
      run.plan = event
      break
    case "Resume":
      run.resumedAfter = event.step
      break
    case "Step":
      run.steps.push(event)
      break
    case "Eval":
      run.evals.push(event)
      break
    case "Sample": {
      const prompt = event.variant === undefined ? event.prompt : `${event.prompt} (${event.variant})`
      const known = run.samples.find((one) => one.prompt === prompt)
      const others = run.samples.filter((one) => one !== known)
      run.samples = [...others, { prompt, before: known?.before ?? event.text, after: event.text }]
      break
    }
    case "Done":
      run.done = event
  }
}
