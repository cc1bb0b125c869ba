/** Llama-2-7b's shapes (or others') with random weights: a checkpoint as `graft synth` writes it, once its run is known to fit. */
import { existsSync, readFileSync } from "node:fs"
import { totalmem } from "node:os"
import { join } from "node:path"
import { knownShapes, runGraft } from "@graft/cli"
import type { TrainEvent } from "@graft/core"
import { type OpenedModel, openShapes } from "@graft/llama-loader"
import { Effect } from "effect"
import { NotPossible } from "./options.ts"

/** `shapes`: a name that `graft synth` knows, or a config.json. */
export const shapesOf = (shapes: string, layers: number): OpenedModel =>
  openShapes(`the shapes of ${shapes}`, {
    ...(knownShapes[shapes] ?? JSON.parse(readFileSync(shapes, "utf8"))),
    num_hidden_layers: layers
  })

type Planned = Pick<Extract<TrainEvent, { readonly _tag: "Plan" }>, "memory">

/** Before anything is fetched or written: whether this machine's memory holds the run of these shapes. */
export const requireMemory = <E, R>(planOf: Effect.Effect<Planned, E, R>): Effect.Effect<void, E | NotPossible, R> =>
  Effect.gen(function* () {
    const { peakBytes } = (yield* planOf).memory
    if (peakBytes > totalmem())
      return yield* new NotPossible({
        message: `a run would take ${peakBytes} bytes and this machine has ${totalmem()}; give fewer --layers or --tokens, or a lower --rank`
      })
  })

/** The folder that it lies in, written unless it is there. The disk is asked by `synth`, before a byte is written. */
export const writeSynthetic = (out: string, shapes: string, layers: number): Effect.Effect<string, NotPossible> =>
  Effect.gen(function* () {
    const folder = join(out, `random-${layers}-layers`)
    if (existsSync(join(folder, "config.json"))) return folder
    const words = ["synth", "--config", shapes, "--dtype", "bf16", "--layers", String(layers), "--out", folder]
    const code = yield* Effect.promise(() => runGraft(words))
    return code === 0 ? folder : yield* new NotPossible({ message: "no checkpoint was written" })
  })
