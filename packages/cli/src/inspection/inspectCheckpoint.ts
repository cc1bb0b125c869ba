import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileError } from "@graft/safetensors"
import { Effect, Schema } from "effect"
import { InvalidInput } from "../problems.ts"
import type { Inspection } from "./Inspection.ts"

/** state.json as the trainer's FolderStore writes it. */
const State = Schema.fromJsonString(
  Schema.Struct({
    checkpoint: Schema.Struct({
      step: Schema.Int,
      identity: Schema.Struct({ model: Schema.String, data: Schema.String, recipe: Schema.String }),
      pieces: Schema.Array(Schema.Struct({ name: Schema.String, bytes: Schema.Int, sha256: Schema.String }))
    })
  })
)
const decode = Schema.decodeUnknownEffect(State)

/** What a run can go on from. */
export const inspectCheckpoint = (path: string) =>
  Effect.gen(function* () {
    const file = join(path, "state.json")
    const text = yield* Effect.try({ try: () => readFileSync(file, "utf8"), catch: (e) => fileError(file, "read", e) })
    const { checkpoint } = yield* Effect.mapError(
      decode(text),
      (e) => new InvalidInput({ message: `${file} is no checkpoint's list: ${e.message.replace(/\s*\n\s*/g, "; ")}` })
    )
    const { step, identity, pieces } = checkpoint
    return {
      kind: "checkpoint",
      path,
      facts: [
        ["step", step],
        ["model", identity.model],
        ["data", identity.data],
        ["options", identity.recipe]
      ],
      notes: [],
      tensors: pieces.map(({ name, bytes }) => ({ name, format: "state", shape: [bytes], bytes }))
    } satisfies Inspection
  })
