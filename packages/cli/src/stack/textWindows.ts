/** A long text as documents of one length, end to end: each token but the first of a window is to be predicted. */
import { readFileSync } from "node:fs"
import type { MicroBatch } from "@graft/core"
import type { OpenedModel } from "@graft/llama-loader"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { requireTokenizer } from "./promptOf.ts"

export const windowsOf = (ids: ReadonlyArray<number>, length: number): ReadonlyArray<MicroBatch> => {
  const windows: Array<MicroBatch> = []
  for (let start = 0; start + 1 < ids.length; start += length) {
    const part = ids.slice(start, start + length)
    if (part.length > 1) windows.push([{ sample: windows.length, ids: part, targets: [...part.slice(1), -1] }])
  }
  return windows
}

export const textWindows = Effect.fnUntraced(function* (model: OpenedModel, path: string, maxLength?: number) {
  const { maxPositions } = model.config
  const length = maxLength ?? Math.min(1024, maxPositions)
  if (length < 2 || length > maxPositions)
    return yield* new InvalidInput({
      message: `--max-length is ${length}; a piece of text has from 2 to ${maxPositions} tokens, the model's positions`
    })
  const tokenizer = yield* requireTokenizer(model)
  const text = yield* Effect.try({
    try: () => readFileSync(path, "utf8"),
    catch: (cause) => fileError(path, "read", cause)
  })
  const windows = windowsOf(tokenizer.encode(text, { addSpecial: false }), length)
  if (windows.length === 0)
    return yield* new InvalidInput({ message: `${path} has no two tokens, so that nothing in it can be predicted` })
  return windows
})
