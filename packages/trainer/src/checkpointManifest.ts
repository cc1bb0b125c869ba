/**
 * What stands in a checkpoint's state.json: the step, what the run is, where it stands, and each piece of state with its
 * hash. The list has a hash of its own, so that one flipped bit anywhere is seen.
 */
import { createHash } from "node:crypto"
import type { CheckpointStore } from "@graft/core"
import { Effect, Schema } from "effect"

const Listed = Schema.Struct({
  step: Schema.Int,
  /** Of model, data and recipe: a run goes on only with the same. */
  identity: Schema.Struct({
    model: Schema.String,
    data: Schema.String,
    recipe: Schema.String,
    options: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
  }),
  progress: Schema.Record(Schema.String, Schema.Unknown),
  pieces: Schema.Array(Schema.Struct({ name: Schema.String, bytes: Schema.Int, sha256: Schema.String }))
})
export type Manifest = typeof Listed.Type
const Written = Schema.fromJsonString(Schema.Struct({ sha256: Schema.String, checkpoint: Schema.Unknown }))

/** In place: Web Crypto's digest copies what it is given. */
export const sha256 = (bytes: Uint8Array): Effect.Effect<string> =>
  Effect.sync(() => createHash("sha256").update(bytes).digest("hex"))
export const sha256OfText = (text: string): Effect.Effect<string> => sha256(new TextEncoder().encode(text))

export const encodeManifest = Effect.fnUntraced(function* (checkpoint: Manifest) {
  const written = { sha256: yield* sha256OfText(JSON.stringify(checkpoint)), checkpoint }
  return new TextEncoder().encode(`${JSON.stringify(written, null, 2)}\n`)
})
/** Undefined if the text is damaged. */
export const decodeManifest = (text: string): Effect.Effect<Manifest | undefined> =>
  Effect.gen(function* () {
    const written = yield* Schema.decodeUnknownEffect(Written)(text)
    if ((yield* sha256OfText(JSON.stringify(written.checkpoint))) !== written.sha256) return undefined
    return yield* Schema.decodeUnknownEffect(Listed)(written.checkpoint)
  }).pipe(Effect.orElseSucceed(() => undefined))

/** "steps 12 there, 20 here" */
const differing = (there: Manifest["identity"]["options"] = {}, here: typeof there = {}): ReadonlyArray<string> => {
  const show = (of: typeof there, name: string) => JSON.stringify(of[name]) ?? "left out"
  return [...new Set([...Object.keys(there), ...Object.keys(here)])]
    .filter((name) => show(there, name) !== show(here, name))
    .map((name) => `${name} ${show(there, name)} there, ${show(here, name)} here`)
}

type Wanted = Parameters<CheckpointStore["restore"]>
/** Why a run cannot go on from this checkpoint, if it cannot. */
export const mismatch = (found: Manifest, identity: Wanted[0], pieces: Wanted[1]): string | undefined => {
  const names = { model: "model", data: "data", recipe: "options" } as const
  const other = (["model", "data", "recipe"] as const).filter((part) => found.identity[part] !== identity[part])
  if (other.length > 0) {
    const what = other.map((part) => names[part]).join(" and ")
    const named = other.includes("recipe") ? differing(found.identity.options, identity.options) : []
    const hashes = other.map((part) => `${found.identity[part]} there, ${identity[part]} here`)
    const how = (other.length === 1 && named.length > 0 ? named : [...named, ...hashes]).join("; ")
    return `was made by another run, with other ${what} (${how}); give the same ${what}, or another folder`
  }
  const listOf = (of: ReadonlyArray<{ readonly name: string; readonly bytes: number }>) =>
    of.map((p) => `${p.name} ${p.bytes}`).join(", ")
  return listOf(found.pieces) === listOf(pieces)
    ? undefined
    : `holds ${listOf(found.pieces)}, this run wants ${listOf(pieces)}`
}
