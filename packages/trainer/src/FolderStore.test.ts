import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { NodeServices } from "@effect/platform-node"
import { CheckpointStore, type StatePiece } from "@graft/core"
import { Cause, Effect, Exit, FileSystem, Layer, type Path, PlatformError } from "effect"
import { FolderStore } from "./FolderStore.ts"

/** State of `count` pieces whose bytes tell the step that they belong to. */
const stateAt = (step: number, sizes: ReadonlyArray<number> = [100, 1, 4096]) => {
  const held = sizes.map((size, i) => new Uint8Array(size).fill(16 * step + i))
  const pieces = held.map(
    (bytes, i): StatePiece => ({
      name: `piece ${i}`,
      bytes: bytes.byteLength,
      read: async () => bytes.slice(),
      write: async (source) => bytes.set(Uint8Array.from(source()))
    })
  )
  return { held, pieces }
}
const adapterAt = (step: number) => [
  { name: "adapter.bin", bytes: new Uint8Array(1000).fill(step) },
  { name: "adapter.json", bytes: new TextEncoder().encode(`{"step":${step}}`) }
]
const checkpointAt = (step: number) => ({
  step,
  fingerprint: "run",
  files: adapterAt(step),
  pieces: stateAt(step).pieces
})
const inFolder = async (body: (folder: string) => Promise<void>): Promise<void> => {
  const root = mkdtempSync(join(tmpdir(), "graft-store-"))
  try {
    await body(join(root, "adapter"))
  } finally {
    rmSync(root, { recursive: true })
  }
}
type Files = Layer.Layer<FileSystem.FileSystem | Path.Path>
const run = <A, E>(
  folder: string,
  body: (store: CheckpointStore) => Effect.Effect<A, E>,
  files: Files = NodeServices.layer
): Promise<Exit.Exit<A, E>> =>
  Effect.runPromiseExit(
    Effect.flatMap(CheckpointStore, body).pipe(Effect.provide(FolderStore.layer(folder).pipe(Layer.provide(files))))
  )
const must = async <A, E>(exit: Promise<Exit.Exit<A, E>>): Promise<A> => {
  const done = await exit
  return Exit.isSuccess(done) ? done.value : assert.fail(Cause.pretty(done.cause))
}
const problem = async (exit: Promise<Exit.Exit<unknown, { readonly message: string }>>): Promise<string> => {
  const done = await exit
  assert.ok(Exit.isFailure(done), "it succeeded")
  const [reason] = done.cause.reasons
  return reason !== undefined && Cause.isFailReason(reason) ? reason.error.message : Cause.pretty(done.cause)
}
/** What a run that goes on finds: step and state. */
const restored = async (folder: string): Promise<number> => {
  const { held, pieces } = stateAt(15)
  const step = await must(run(folder, (store) => store.restore("run", pieces)))
  if (step > 0) assert.deepEqual(held, stateAt(step).held, `the state of step ${step} is whole`)
  return step
}

test("a checkpoint comes back, the next one replaces it, and nothing else lies around", () =>
  inFolder(async (folder) => {
    assert.equal(await restored(folder), 0)
    for (const step of [3, 7]) {
      assert.equal(await must(run(folder, (store) => store.save(checkpointAt(step)))), folder)
      assert.equal(await restored(folder), step)
      assert.deepEqual(readdirSync(folder).sort(), ["adapter.bin", "adapter.json", "state"])
      for (const { name, bytes } of adapterAt(step))
        assert.deepEqual(new Uint8Array(readFileSync(join(folder, name))), bytes)
    }
  }))
test("another run's checkpoint, another layout and damage are refused, by file", () =>
  inFolder(async (folder) => {
    await must(run(folder, (store) => store.save(checkpointAt(2))))
    const file = join(folder, "state", "state.json")
    const restore = (fingerprint: string, sizes?: ReadonlyArray<number>) =>
      problem(run(folder, (store) => store.restore(fingerprint, stateAt(0, sizes).pieces)))
    assert.match(
      await restore("another"),
      /state\.json: was made by another run \(run, this is another\); give the same/
    )
    assert.match(await restore("run", [100, 2, 4096]), /holds piece 0 100, piece 1 1, .* wants piece 0 100, piece 1 2/)
    assert.match(await restore("run", [100]), /this run wants piece 0 100$/)
    const piece = join(folder, "state", "2.bin")
    const bytes = readFileSync(piece)
    writeFileSync(
      piece,
      bytes.map((b, i) => (i === 2000 ? b ^ 1 : b))
    )
    assert.match(await restore("run"), /2\.bin: is damaged; start again, or restore the file/)
    writeFileSync(piece, bytes.subarray(0, 4000))
    assert.match(await restore("run"), /2\.bin: is damaged/)
    rmSync(piece)
    assert.match(await restore("run"), /2\.bin/)
    writeFileSync(piece, bytes)
    assert.equal(await restored(folder), 2)
    for (const text of ["", "{", "[]", '{"step":"2"}', readFileSync(file, "utf8").slice(0, -30)]) {
      writeFileSync(file, text)
      assert.match(await restore("run"), /state\.json/, JSON.stringify(text))
    }
  }))

/** A file system whose `at`-th change does not happen, or half: everything after it fails too. */
const failing = (
  at: number,
  how: (what: string) => Effect.Effect<never, PlatformError.PlatformError>
): { readonly files: Files; readonly changes: () => number } => {
  let changes = 0
  let dead = false
  const change = <A, R>(
    what: string,
    effect: Effect.Effect<A, PlatformError.PlatformError, R>,
    half: Effect.Effect<unknown, PlatformError.PlatformError> = Effect.void
  ) =>
    Effect.suspend(() => {
      if (dead) return how(what)
      if (++changes !== at) return effect
      dead = true
      return Effect.andThen(half, how(what))
    })
  const files = Layer.effect(
    FileSystem.FileSystem,
    Effect.map(
      FileSystem.FileSystem,
      (fs): FileSystem.FileSystem => ({
        ...fs,
        remove: (path, options) => change(`remove ${path}`, fs.remove(path, options)),
        makeDirectory: (path, options) => change(`make ${path}`, fs.makeDirectory(path, options)),
        rename: (from, to) => change(`rename ${from}`, fs.rename(from, to)),
        open: (path, options) =>
          Effect.map(
            options?.flag === "w" ? change(`open ${path}`, fs.open(path, options)) : fs.open(path, options),
            (file) => ({
              ...file,
              stat: file.stat,
              seek: (offset, from) => file.seek(offset, from),
              read: (buffer) => file.read(buffer),
              readAlloc: (size) => file.readAlloc(size),
              truncate: (length) => file.truncate(length),
              write: (buffer) => file.write(buffer),
              sync: change(`sync ${path}`, file.sync),
              writeAll: (buffer) =>
                change(
                  `write ${path}`,
                  file.writeAll(buffer),
                  file.writeAll(buffer.subarray(0, buffer.byteLength >> 1))
                )
            })
          )
      })
    )
  ).pipe(Layer.provideMerge(NodeServices.layer))
  return { files, changes: () => changes }
}
const killed = (what: string) => Effect.die(new Error(`killed at ${what}`))
const diskFull = (what: string) =>
  Effect.fail(
    PlatformError.systemError({
      _tag: "WriteZero",
      module: "FileSystem",
      method: "write",
      description: "no space left on device",
      pathOrDescriptor: what
    })
  )

for (const first of [true, false]) {
  test(`killed at any instant of ${first ? "the first" : "a later"} save, the folder holds the old state or the new, whole`, async () => {
    const found = new Set<number>()
    let at = 1
    for (; ; at++) {
      let ended = false
      await inFolder(async (folder) => {
        if (!first) await must(run(folder, (store) => store.save(checkpointAt(1))))
        const { files, changes } = failing(at, killed)
        const exit = await run(folder, (store) => store.save(checkpointAt(2)), files)
        ended = Exit.isSuccess(exit)
        assert.equal(ended, changes() < at)
        const step = await restored(folder)
        assert.ok(step === 2 || step === (first ? 0 : 1), `killed at change ${at}: step ${step}`)
        found.add(step)
        // The next save cleans up.
        await must(run(folder, (store) => store.save(checkpointAt(3))))
        assert.equal(await restored(folder), 3)
        assert.deepEqual(readdirSync(folder).sort(), ["adapter.bin", "adapter.json", "state"])
      })
      if (ended) break
    }
    assert.ok(at > 15, `${at} changes`)
    assert.deepEqual([...found].sort(), first ? [0, 2] : [1, 2])
  })
}
test("a full disk is an error that names the folder; the old checkpoint stays, nothing half-written beside it", async () => {
  for (let at = 2; ; at++) {
    let ended = false
    await inFolder(async (folder) => {
      await must(run(folder, (store) => store.save(checkpointAt(1))))
      let full = false
      // The disk is full from the write on; what only takes names away still works.
      const limited = Layer.effect(
        FileSystem.FileSystem,
        Effect.map(FileSystem.FileSystem, (fs): FileSystem.FileSystem => {
          let writes = 0
          return {
            ...fs,
            open: (path, options) =>
              Effect.map(fs.open(path, options), (file) => ({
                ...file,
                sync: file.sync,
                writeAll: (buffer) => {
                  full = full || ++writes === at
                  return full
                    ? Effect.andThen(file.writeAll(buffer.subarray(0, 1)), diskFull(path))
                    : file.writeAll(buffer)
                }
              }))
          }
        })
      ).pipe(Layer.provideMerge(NodeServices.layer))
      const exit = await run(folder, (store) => store.save(checkpointAt(2)), limited)
      ended = Exit.isSuccess(exit)
      if (ended) return
      assert.match(await problem(Promise.resolve(exit)), /adapter: .*no space left on device/)
      assert.equal(await restored(folder), 1)
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "adapter.bin"))), adapterAt(1)[0]!.bytes)
      assert.deepEqual(readdirSync(folder).sort(), ["adapter.bin", "adapter.json", "state"])
    })
    if (ended) break
    assert.ok(at < 50)
  }
})
test("a piece that cannot be read is an error that names it", () =>
  inFolder(async (folder) => {
    const broken: StatePiece = {
      name: "moments",
      bytes: 3,
      read: () => Promise.reject(new Error("spill: I/O")),
      write: async () => {}
    }
    const message = await problem(run(folder, (store) => store.save({ ...checkpointAt(1), pieces: [broken] })))
    assert.match(message, /moments: .*spill: I\/O/)
    assert.equal(await restored(folder), 0)
  }))
