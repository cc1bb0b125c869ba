/** Llama-2-7b's shapes with random weights: a checkpoint as `graft synth` writes it, once its run is known to fit. */
import { existsSync } from "node:fs"
import { totalmem } from "node:os"
import { join } from "node:path"
import { knownShapes, runGraft } from "@graft/cli"
import type { TrainEvent } from "@graft/core"
import { type OpenedModel, openShapes } from "@graft/llama-loader"
import { Effect } from "effect"
import { NotPossible } from "./options.ts"

export const shapesOf = (layers: number): OpenedModel =>
  openShapes("Llama-2-7b's shapes", { ...knownShapes["llama-2-7b"], num_hidden_layers: layers })

type Planned = Pick<Extract<TrainEvent, { readonly _tag: "Plan" }>, "memory">

/** The folder that it lies in, written unless it is there. Memory is asked here, the disk by `synth`, before a byte is written. */
export const writeSynthetic = <E, R>(
  out: string,
  layers: number,
  planOf: Effect.Effect<Planned, E, R>
): Effect.Effect<string, E | NotPossible, R> =>
  Effect.gen(function* () {
    const { peakBytes } = (yield* planOf).memory
    if (peakBytes > totalmem())
      return yield* new NotPossible({
        message: `a run would take ${peakBytes} bytes and this machine has ${totalmem()}; give fewer --layers or --tokens, or a lower --rank`
      })
    const folder = join(out, `random-${layers}-layers`)
    if (existsSync(join(folder, "config.json"))) return folder
    const words = ["synth", "--config", "llama-2-7b", "--dtype", "bf16", "--layers", String(layers), "--out", folder]
    const code = yield* Effect.promise(() => runGraft(words))
    return code === 0 ? folder : yield* new NotPossible({ message: "no checkpoint was written" })
  })
