/**
 * Checkpoints in a folder. One is written under a temporary name, synced and renamed, so that what stands under its own name
 * is whole; state goes piece by piece and is never all in memory.
 */
import { CheckpointError, CheckpointStore, makePart } from "@graft/core"
import { Effect, FileSystem, Layer, Path, Schema } from "effect"

const Manifest = Schema.Struct({
  step: Schema.Int,
  /** Of the recipe, the model and the data: a run goes on only with the same. */
  fingerprint: Schema.String,
  pieces: Schema.Array(Schema.Struct({ name: Schema.String, bytes: Schema.Int, sha256: Schema.String }))
})
const ManifestJson = Schema.fromJsonString(Manifest)

const sha256 = (bytes: Uint8Array): Effect.Effect<string> =>
  Effect.promise(async () => {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()))
    return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("")
  })
const STATE = "state"

/** Keeps the adapter's files in `folder`, and the state to go on with in `folder`/state. */
export const FolderStore = {
  layer: (folder: string): Layer.Layer<never, never, FileSystem.FileSystem | Path.Path> =>
    Layer.effect(
      CheckpointStore,
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const part = yield* makePart("folder store")
        const fail = (where: string, problem: string) =>
          new CheckpointError({ path: where, message: `${where}: ${problem}` })
        const at = <A, E extends { readonly message: string }>(where: string, effect: Effect.Effect<A, E>) =>
          Effect.mapError(effect, (e) => fail(where, e.message))

        const writeSynced = (file: string, bytes: Uint8Array) =>
          Effect.scoped(
            Effect.gen(function* () {
              const handle = yield* fs.open(file, { flag: "w" })
              yield* handle.writeAll(bytes)
              yield* handle.sync
            })
          )
        const syncFolder = (name: string) =>
          Effect.scoped(Effect.flatMap(fs.open(name, { flag: "r" }), (handle) => handle.sync))

        const next = path.join(folder, `.${STATE}.next`)
        const temporary = (name: string) => path.join(folder, `.${name}.next`)
        const save: CheckpointStore["save"] = ({ step, fingerprint, files, pieces }) =>
          at(
            folder,
            Effect.gen(function* () {
              const state = path.join(folder, STATE)
              yield* fs.remove(next, { recursive: true, force: true })
              yield* fs.makeDirectory(next, { recursive: true })
              const listed: Array<(typeof Manifest.Type)["pieces"][number]> = []
              for (const [i, piece] of pieces.entries()) {
                const bytes = yield* Effect.tryPromise({
                  try: piece.read,
                  catch: (e) => new Error(`${piece.name}: ${e}`)
                })
                yield* writeSynced(path.join(next, `${i}.bin`), bytes)
                listed.push({ name: piece.name, bytes: bytes.byteLength, sha256: yield* sha256(bytes) })
              }
              const manifest = JSON.stringify(
                { step, fingerprint, pieces: listed } satisfies typeof Manifest.Type,
                null,
                2
              )
              for (const file of files) yield* writeSynced(temporary(file.name), file.bytes)
              // What has a manifest is whole: a run that was killed here goes on from it.
              yield* writeSynced(path.join(next, "state.json.next"), new TextEncoder().encode(manifest))
              yield* fs.rename(path.join(next, "state.json.next"), path.join(next, "state.json"))
              yield* syncFolder(next)
              // From here on only names change.
              for (const file of files) yield* fs.rename(temporary(file.name), path.join(folder, file.name))
              const before = path.join(folder, `.${STATE}.before`)
              yield* fs.remove(before, { recursive: true, force: true })
              if (yield* fs.exists(state)) yield* fs.rename(state, before)
              yield* fs.rename(next, state)
              yield* syncFolder(folder)
              yield* fs.remove(before, { recursive: true, force: true })
              return folder
            }).pipe(
              Effect.tapError(() =>
                Effect.forEach(
                  [next, ...files.map(({ name }) => temporary(name))],
                  (name) => Effect.ignore(fs.remove(name, { recursive: true, force: true })),
                  { discard: true }
                )
              )
            )
          )

        const restore: CheckpointStore["restore"] = (fingerprint, pieces) =>
          Effect.gen(function* () {
            const candidates = [STATE, `.${STATE}.next`, `.${STATE}.before`].map((name) => path.join(folder, name))
            for (const state of candidates) {
              const file = path.join(state, "state.json")
              if (!(yield* at(file, fs.exists(file)))) continue
              const manifest = yield* at(
                file,
                Effect.flatMap(fs.readFileString(file), Schema.decodeUnknownEffect(ManifestJson))
              )
              if (manifest.fingerprint !== fingerprint) {
                return yield* fail(
                  file,
                  `was made by another run (${manifest.fingerprint}, this is ${fingerprint}); give the same model, data and options, or another folder`
                )
              }
              const names = (of: ReadonlyArray<{ readonly name: string; readonly bytes: number }>) =>
                of.map((p) => `${p.name} ${p.bytes}`).join(", ")
              if (names(manifest.pieces) !== names(pieces))
                return yield* fail(file, `holds ${names(manifest.pieces)}, this run wants ${names(pieces)}`)
              for (const [i, piece] of pieces.entries()) {
                const part = path.join(state, `${i}.bin`)
                const bytes = yield* at(part, fs.readFile(part))
                const { sha256: wanted } = manifest.pieces[i]!
                if (bytes.byteLength !== piece.bytes || (yield* sha256(bytes)) !== wanted)
                  return yield* fail(part, "is damaged; start again, or restore the file")
                yield* at(
                  part,
                  Effect.tryPromise({ try: () => piece.write(() => bytes), catch: (e) => new Error(`${e}`) })
                )
              }
              return manifest.step
            }
            return 0
          })
        return { part, save, restore }
      })
    )
}
