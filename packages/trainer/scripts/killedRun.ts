/**
 * A run for tests to kill: `bun killedRun.ts FOLDER STEPS [--resume]` trains the toy, saving after each step, and says so on
 * standard output. What it ends with must not depend on how often it was killed on the way.
 */
import { NodeServices } from "@effect/platform-node"
import { AdamW, Dense, Reference, Trainer as TrainerService } from "@graft/core"
import { ToyAdapter, ToyDataset, ToyLoader, toyLora } from "@graft/testing"
import { Effect, Layer, Stream } from "effect"
import { FolderStore } from "../src/FolderStore.ts"
import { Trainer } from "../src/Trainer.ts"

const [folder = "", steps = "1", resume] = process.argv.slice(2)
const options = {
  steps: Number(steps),
  learningRate: 0.02,
  schedule: "cosine",
  neftuneAlpha: 5,
  saveEvery: 1,
  resume: resume === "--resume"
} as const
const stack = Trainer.layer(options).pipe(
  Layer.provide(FolderStore.layer(folder).pipe(Layer.provide(NodeServices.layer))),
  Layer.provide(AdamW.layer()),
  Layer.provide(ToyDataset.layer()),
  Layer.provide(ToyAdapter.layer(toyLora({ dropout: 0.2 }))),
  Layer.provide(ToyLoader.layer()),
  Layer.provide(Dense.layer),
  Layer.provide(Reference.layer)
)
await Effect.runPromise(
  TrainerService.use(({ run }) =>
    Stream.runForEach(run, (event) =>
      Effect.sync(() => {
        if (event._tag === "Step" || event._tag === "Checkpoint" || event._tag === "Warning")
          process.stdout.write(`${event._tag} ${event.step}\n`)
      })
    )
  ).pipe(Effect.provide(stack))
)
process.stdout.write("end\n")
