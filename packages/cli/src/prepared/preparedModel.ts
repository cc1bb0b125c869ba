/** For a stack in code: a model with its linears quantised in a prepared file, which is made if there is none. */
import type { OpenedModel } from "@graft/llama-loader"
import { Effect } from "effect"
import { asStored } from "../flags/modelFlags.ts"
import { makeScreen } from "../show/Screen.ts"
import { usePrepared } from "./usePrepared.ts"

export interface PreparedOptions {
  readonly quantize: "nf4" | "fp4"
  readonly doubleQuant: boolean
  /** Where the file is kept; left out: in the cache folder, if there are 1 GB of dense weights or more. */
  readonly folder?: string | undefined
}

/** The model itself where it is quantised already, or packed as a GGUF is. What is done is said on standard output. */
export const preparedModel = (model: OpenedModel, { quantize, doubleQuant, folder }: PreparedOptions) => {
  const stored =
    model.config.quantization !== undefined ||
    model.tensors.names.some((name) => model.tensors.get(name)?.blocks !== undefined)
  const input = {
    ...asStored,
    ...({ backend: "cpu", threads: undefined, isa: undefined, compute: undefined } as const),
    ...{ quantize, doubleQuant, prepared: folder }
  }
  return stored
    ? Effect.succeed(model)
    : Effect.map(usePrepared(model, input, makeScreen(false)), (ready) => ready.model)
}
