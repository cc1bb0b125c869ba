/**
 * Checkpoints in a folder. One is written under a temporary name, synced and renamed, so that what stands under its own name
 * is whole; the one before it stays beside it, for a disk that lies. State goes piece by piece and is never all in memory.
 */
import { CheckpointError, CheckpointStore, makePart, type SavedFile, type StatePiece } from "@graft/core"
import { FreeSpace, fileError, requireSpace } from "@graft/safetensors"
import { Effect, FileSystem, Layer, Path } from "effect"
import { NEXT, PREVIOUS, STATE } from "./checkpointFolders.ts"
import { decodeManifest, encodeManifest, type Manifest, mismatch, sha256 } from "./checkpointManifest.ts"
import { checkpointNeed } from "./checkpointNeed.ts"
import { lockFolder } from "./RunLock.ts"

const MANIFEST = "state.json"

/** Keeps the adapter's files in `folder`, and the state to go on with in `folder`/state. One run at a time has the folder. */
export const FolderStore = {
  layer: (folder: string): Layer.Layer<never, CheckpointError, FileSystem.FileSystem | Path.Path> =>
    Layer.effect(CheckpointStore, Effect.andThen(lockFolder(folder), makeStore(folder)))
}

const asError = (cause: unknown): Error => (cause instanceof Error ? cause : new Error(String(cause)))

/** One for all pieces, since they go one after the other: what is left to the garbage collector lies there for long. */
const bufferFor = (pieces: ReadonlyArray<StatePiece>): Uint8Array =>
  new Uint8Array(pieces.reduce((most, { bytes }) => Math.max(most, bytes), 0))

/** What the system says of a file that it does not write, where Effect says no more than "Unknown". */
const ofSystem = (file: string) => (e: Error) =>
  e.cause instanceof Error && "code" in e.cause ? fileError(file, "write", e.cause) : e

const makeStore = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const free = yield* FreeSpace
  const part = yield* makePart("folder store")
  const at = (...names: ReadonlyArray<string>): string => path.join(folder, ...names)
  const fail = (where: string, problem: string) => new CheckpointError({ path: where, message: `${where}: ${problem}` })
  const saying = <A, E extends { readonly message: string }>(where: string, effect: Effect.Effect<A, E>) =>
    Effect.mapError(effect, (e) => fail(where, e.message))

  const writeSynced = (file: string, bytes: SavedFile["bytes"]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const handle = yield* fs.open(file, { flag: "w" })
        if (bytes instanceof Uint8Array) yield* handle.writeAll(bytes)
        else {
          const parts = bytes()[Symbol.asyncIterator]()
          for (;;) {
            // The next part may take the memory of this one: it is asked for when this one is written.
            const next = yield* Effect.tryPromise({ try: () => parts.next(), catch: asError })
            if (next.done === true) break
            yield* handle.writeAll(next.value)
          }
        }
        yield* handle.sync
      })
    ).pipe(Effect.mapError(ofSystem(file)))
  /** How long a file is; as much of it as `into` has room for lies there. */
  const readInto = (file: string, into: Uint8Array) =>
    Effect.scoped(
      Effect.gen(function* () {
        const handle = yield* fs.open(file, { flag: "r" })
        for (let got = 0; got < into.byteLength; ) {
          const more = Number(yield* handle.read(into.subarray(got)))
          if (more === 0) break
          got += more
        }
        return Number((yield* handle.stat).size)
      })
    )
  const syncFolder = (name: string) =>
    Effect.scoped(Effect.flatMap(fs.open(name, { flag: "r" }), (handle) => handle.sync))
  const removeAll = (name: string) => fs.remove(name, { recursive: true, force: true })
  /** A file `name` of the folder, also within a folder of it, while it is written. */
  const temporary = (name: string) => at(path.dirname(name), `.${path.basename(name)}.next`)

  const requireRoom: CheckpointStore["requireRoom"] = (stateBytes, fileBytes, saves) =>
    Effect.flatMap(checkpointNeed(folder, { stateBytes, fileBytes, saves }), (need) =>
      requireSpace([need], "make room, save less often, or keep the run on another disk")
    ).pipe(
      Effect.provideService(FreeSpace, free),
      Effect.mapError(({ message }) => new CheckpointError({ path: folder, message }))
    )

  /** Whether what stands under `state` is of this run. A new run replaces what an earlier one left. */
  let ours = false
  /** Folders that were found damaged: they do not push a whole one out. */
  const damaged = new Set<string>()

  const save: CheckpointStore["save"] = ({ files, pieces, ...position }) =>
    saying(
      folder,
      Effect.gen(function* () {
        const [next, state, previous] = [at(NEXT), at(STATE), at(PREVIOUS)]
        yield* removeAll(next)
        yield* fs.makeDirectory(next, { recursive: true })
        const listed: Array<Manifest["pieces"][number]> = []
        const buffer = bufferFor(pieces)
        for (const [i, piece] of pieces.entries()) {
          const bytes = yield* Effect.tryPromise({
            try: () => piece.read(buffer.subarray(0, piece.bytes)),
            catch: (e) => new Error(`${piece.name}: ${e}`)
          })
          yield* writeSynced(path.join(next, `${i}.bin`), bytes)
          listed.push({ name: piece.name, bytes: bytes.byteLength, sha256: yield* sha256(bytes) })
        }
        for (const file of files) {
          yield* fs.makeDirectory(at(path.dirname(file.name)), { recursive: true })
          yield* writeSynced(temporary(file.name), file.bytes)
        }
        // What has a manifest is whole: a run that was killed here goes on from it.
        const manifest = yield* encodeManifest({ ...position, pieces: listed })
        yield* writeSynced(path.join(next, `${MANIFEST}.next`), manifest)
        yield* fs.rename(path.join(next, `${MANIFEST}.next`), path.join(next, MANIFEST))
        yield* syncFolder(next)
        // From here on only names change.
        for (const file of files) yield* fs.rename(temporary(file.name), at(file.name))
        const keeps = ours && !damaged.has(state) && (yield* fs.exists(state))
        if (keeps || !ours) yield* removeAll(previous)
        if (keeps) yield* fs.rename(state, previous)
        else yield* removeAll(state)
        yield* fs.rename(next, state)
        yield* syncFolder(folder)
        ours = true
        damaged.clear()
        return folder
      }).pipe(
        Effect.tapError(() =>
          Effect.forEach(
            [at(NEXT), ...files.map(({ name }) => temporary(name))],
            (name) => Effect.ignore(removeAll(name)),
            { discard: true }
          )
        )
      )
    )

  const keep: CheckpointStore["keep"] = (name: string, files: ReadonlyArray<SavedFile>) =>
    saying(
      at(name),
      Effect.gen(function* () {
        const [next, before] = [temporary(name), at(path.dirname(name), `.${path.basename(name)}.before`)]
        yield* removeAll(next)
        yield* fs.makeDirectory(next, { recursive: true })
        for (const file of files) {
          yield* fs.makeDirectory(path.dirname(path.join(next, file.name)), { recursive: true })
          yield* writeSynced(path.join(next, file.name), file.bytes)
        }
        yield* syncFolder(next)
        yield* removeAll(before)
        if (yield* fs.exists(at(name))) yield* fs.rename(at(name), before)
        yield* fs.rename(next, at(name))
        yield* syncFolder(folder)
        yield* removeAll(before)
        return at(name)
      })
    )

  /** The manifest of a folder; a text that says what is damaged. */
  const manifestOf = (state: string) =>
    Effect.gen(function* () {
      const file = path.join(state, MANIFEST)
      if (!(yield* fs.exists(file))) return `${file} is missing`
      return (yield* decodeManifest(yield* fs.readFileString(file))) ?? `${file} is damaged`
    }).pipe(Effect.catch((e) => Effect.succeed(e.message)))

  const restore: CheckpointStore["restore"] = (identity, pieces) =>
    Effect.gen(function* () {
      const warnings: Array<string> = []
      for (const name of [NEXT, STATE, PREVIOUS]) {
        const state = at(name)
        // What has no manifest yet was being written.
        const begun = name === NEXT ? path.join(state, MANIFEST) : state
        if (!(yield* saying(state, fs.exists(begun)))) continue
        const manifest = yield* manifestOf(state)
        const problem = typeof manifest === "string" ? manifest : yield* putBack(state, manifest, identity, pieces)
        if (problem !== undefined) {
          warnings.push(problem)
          damaged.add(state)
          continue
        }
        const { step, progress } = manifest as Manifest // a text is a problem
        ours = true
        if (name === NEXT) yield* Effect.ignore(finish)
        return { step, progress, warnings }
      }
      if (warnings.length === 0) return { step: 0, progress: {}, warnings }
      return yield* fail(
        folder,
        `no checkpoint is whole: ${warnings.join("; ")}. Start again without --resume, or restore the files`
      )
    })
  /** A whole checkpoint that a kill kept from its place takes it. */
  const finish = Effect.gen(function* () {
    const [next, state, previous] = [at(NEXT), at(STATE), at(PREVIOUS)]
    if (yield* fs.exists(state)) {
      yield* removeAll(previous)
      yield* fs.rename(state, previous)
    }
    yield* fs.rename(next, state)
    yield* syncFolder(folder)
  })
  const putBack = Effect.fnUntraced(function* (
    state: string,
    manifest: Manifest,
    ...[identity, pieces]: Parameters<CheckpointStore["restore"]>
  ) {
    const other = mismatch(manifest, identity, pieces)
    if (other !== undefined) return yield* fail(path.join(state, MANIFEST), other)
    const buffer = bufferFor(pieces)
    for (const [i, piece] of pieces.entries()) {
      const file = path.join(state, `${i}.bin`)
      const bytes = buffer.subarray(0, piece.bytes)
      const size = yield* Effect.orElseSucceed(readInto(file, bytes), () => undefined)
      if (size === undefined) return `${file} cannot be read`
      const { sha256: wanted } = manifest.pieces[i]!
      if (size !== piece.bytes || (yield* sha256(bytes)) !== wanted) return `${file} is damaged`
      yield* saying(file, Effect.tryPromise({ try: () => piece.write(() => bytes), catch: (e) => new Error(`${e}`) }))
    }
    return undefined
  })
  return { part, requireRoom, save, keep, restore }
})
