/** `graft train`: a run, told as it goes, kept in a folder, ended gently by Ctrl-C. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Profile } from "@graft/backend-cpu"
import { Adapter, Backend, ModelLoader, Trainer } from "@graft/core"
import { Effect, Stream } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { Stopped } from "../problems.ts"
import { runFolder } from "../report/runFolder.ts"
import { Stopping } from "../Stopping.ts"
import { showData, showModel } from "../show/findings.ts"
import { showProfile } from "../show/profileTable.ts"
import { bytes, duration } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { trainReporter } from "../show/trainEvents.ts"
import { diskNeeds, requireDisk } from "../stack/diskNeeds.ts"
import { giveBack } from "../stack/giveBack.ts"
import { keepTemplate } from "../stack/keptTemplate.ts"
import { loadBytes } from "../stack/loadBytes.ts"
import { learningRateOf, prepareRun } from "../stack/prepareRun.ts"
import { requireWritable } from "../stack/requireWritable.ts"
import { sweepOf } from "../stack/sweepLayer.ts"
import { wayText } from "../stack/Way.ts"

export const DEFAULT_OUT = "graft-adapter"

export const train = Effect.fnUntraced(function* (input: TrainInput) {
  const screen = makeScreen(input.json)
  const out = input.out ?? DEFAULT_OUT
  yield* requireWritable(out)
  const profile = input.profile ? new Profile() : undefined
  const { model, data, steps, stack, way, fit } = yield* prepareRun(input, out, profile, screen)
  showModel(screen, model)
  if (data.report !== undefined) showData(screen, data.report)
  if (fit !== undefined) {
    const { way, bytes: taken } = fit.chosen
    screen.say(`fit    ${wayText(way, model.config.layers)}: ${bytes(taken)} of ${bytes(input.memory ?? taken)}`)
    screen.event({ event: "Fit", budget: input.memory, way, bytes: taken })
  }
  const earlier = existsSync(join(out, "state"))
  if (earlier && !input.resume)
    screen.say(`${screen.style.warning("note")}: this run replaces the one in ${out}; --resume goes on with it`)
  if (!earlier && input.resume) screen.say(`there is no checkpoint in ${out} to go on from: a new run begins`)
  const asked = Effect.gen(function* () {
    const { disk } = yield* Trainer.use(({ plan }) => plan)
    yield* requireDisk(yield* diskNeeds(disk, input, way, out))
    yield* keepTemplate(out, data.template)
    yield* run(screen, input, out, steps, profile)
  })
  yield* Effect.provide(asked, stack)
}, Effect.scoped)

const run = Effect.fnUntraced(function* (
  screen: Screen,
  input: TrainInput,
  out: string,
  steps: number,
  profile: Profile | undefined
) {
  const [trainer, backend, model, adapter] = [yield* Trainer, yield* Backend, yield* ModelLoader, yield* Adapter]
  const wholeLoad = loadBytes(backend.limits, { load: model.load, adapter: adapter.plan })
  const report = trainReporter(screen, { steps, loadBytes: wholeLoad })
  const folder = runFolder(out, input, { steps, learningRate: learningRateOf(input) })
  const began = performance.now()
  let loaded = 0
  let committed = 0
  let interrupted = false
  let saved = false
  let compute = "f32"

  yield* (yield* Stopping).onFirst(() => {
    screen.say(
      loaded < wholeLoad
        ? "stopping: the model is not loaded yet, and nothing is saved; once more to leave at once"
        : "stopping: the adapter is saved as of the last step; once more to leave at once"
    )
    Effect.runFork(trainer.stop)
    return true
  })
  yield* Stream.runForEach(trainer.run, (event) =>
    Effect.gen(function* () {
      if (event._tag === "Plan") compute = event.compute
      if (event._tag === "Load") loaded = event.loadedBytes
      if (event._tag === "Plan" || (event._tag === "Load" && loaded >= wholeLoad)) giveBack()
      if (event._tag === "Checkpoint") saved = true
      if (event._tag === "Done") ({ interrupted, steps: committed } = event)
      yield* folder.take(event)
      report(event)
      if (event._tag === "Done" && profile !== undefined)
        yield* showProfile(screen, profile, { ...input, compute }, join(out, "trace.json"))
    })
  )
  if (interrupted) {
    if (!saved) return yield* new Stopped({ message: "stopped before the first step; nothing was changed" })
    return yield* new Stopped({
      message: `stopped after step ${committed} of ${steps}. ${out} holds the adapter as of it; the same command with --resume goes on`
    })
  }
  screen.say(
    `done in   ${duration((performance.now() - began) / 1000)}. Its curves stand in ${folder.reportPath}, each step in ${folder.metricsPath}. Next:`
  )
  if (input.sweep !== undefined) {
    screen.say(
      `  each adapter has a folder of its own in ${out}, as in --adapter ${join(out, sweepOf(input.sweep).values[0]?.[0] ?? "")}`
    )
    return
  }
  const flag = input.full ? `--model ${out}` : `--model ${input.model} --adapter ${out}`
  screen.say(`  graft generate ${flag} --prompt "…"`)
  screen.say(`  graft eval ${flag} --data ${input.evalData[0] ?? input.data[0]}`)
})
