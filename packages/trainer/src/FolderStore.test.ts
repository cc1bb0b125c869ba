import assert from "node:assert/strict"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { NodeServices } from "@effect/platform-node"
import { type CheckpointError, CheckpointStore, type StatePiece } from "@graft/core"
import { FreeSpace } from "@graft/safetensors"
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
const identity = { model: "model", data: "data", recipe: "recipe" }
const checkpointAt = (step: number) => ({
  step,
  progress: { best: step / 3, at: [step] },
  identity,
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
): Promise<Exit.Exit<A, E | CheckpointError>> =>
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
const restored = async (folder: string, warned: ReadonlyArray<RegExp> = []): Promise<number> => {
  const { held, pieces } = stateAt(15)
  const { step, progress, warnings } = await must(run(folder, (store) => store.restore(identity, pieces)))
  if (step > 0) assert.deepEqual(held, stateAt(step).held, `the state of step ${step} is whole`)
  assert.deepEqual(progress, step > 0 ? checkpointAt(step).progress : {})
  assert.equal(warnings.length, warned.length, warnings.join("; "))
  for (const [i, pattern] of warned.entries()) assert.match(warnings[i]!, pattern)
  return step
}
/** A store that goes on as a run does: it restores, then saves. */
const goOn = (folder: string, step: number) =>
  must(
    run(folder, (store) => Effect.andThen(store.restore(identity, stateAt(15).pieces), store.save(checkpointAt(step))))
  )
/** What lies in a folder after `n` checkpoints of one run. */
const files = (n: 1 | 2) => ["adapter.bin", "adapter.json", "state", ...(n === 2 ? ["state.previous"] : [])]

test("a checkpoint comes back, the last two stay, and nothing else lies around", () =>
  inFolder(async (folder) => {
    assert.equal(await restored(folder), 0)
    for (const step of [3, 7, 9]) {
      assert.equal(await goOn(folder, step), folder)
      assert.equal(await restored(folder), step)
      assert.deepEqual(readdirSync(folder).sort(), files(step === 3 ? 1 : 2))
      for (const { name, bytes } of adapterAt(step))
        assert.deepEqual(new Uint8Array(readFileSync(join(folder, name))), bytes)
    }
    // A new run keeps nothing of the one that it replaces.
    await must(run(folder, (store) => store.save(checkpointAt(1))))
    assert.deepEqual(readdirSync(folder).sort(), files(1))
    assert.equal(await restored(folder), 1)
  }))
test("another run's checkpoint and another layout are refused, by what differs", () =>
  inFolder(async (folder) => {
    await must(run(folder, (store) => store.save(checkpointAt(2))))
    const restore = (other: Partial<typeof identity>, sizes?: ReadonlyArray<number>) =>
      problem(run(folder, (store) => store.restore({ ...identity, ...other }, stateAt(0, sizes).pieces)))
    assert.match(
      await restore({ model: "m2" }),
      /state\.json: was made by another run, with other model \(model there, m2 here\); give the same model, or another folder/
    )
    assert.match(
      await restore({ data: "d2", recipe: "r2" }),
      /with other data and options \(data there, d2 here; recipe/
    )
    assert.match(await restore({}, [100, 2, 4096]), /holds piece 0 100, piece 1 1, .* wants piece 0 100, piece 1 2/)
    assert.match(await restore({}, [100]), /this run wants piece 0 100$/)
    assert.equal(await restored(folder), 2)
  }))
test("of a damaged checkpoint the one before is used, and it is said which file; with both damaged it ends", () =>
  inFolder(async (folder) => {
    for (const step of [1, 2]) await goOn(folder, step)
    let seed = 1
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    const names = readdirSync(join(folder, "state"))
    assert.deepEqual(names.sort(), ["0.bin", "1.bin", "2.bin", "state.json"])
    for (let i = 0; i < 60; i++) {
      const file = join(folder, "state", names[i % names.length]!)
      const bytes = readFileSync(file)
      const broken = Buffer.from(bytes)
      if (i % 3 === 0) writeFileSync(file, bytes.subarray(0, random(bytes.length)))
      else if (i % 3 === 1) {
        const at = random(bytes.length)
        broken[at] = broken[at]! ^ (1 << random(8))
        // White space between the words of the list is no damage, and neither is its case.
        if (file.endsWith(".json") && String.fromCharCode(bytes[at]!).trim() === "") broken[at] = 0
        writeFileSync(file, broken)
      } else rmSync(file)
      assert.equal(await restored(folder, [/state\/(\d\.bin|state\.json) (is damaged|cannot be read|is missing)/]), 1)
      writeFileSync(file, bytes)
    }
    assert.equal(await restored(folder), 2)
    // A damaged one does not push the whole one out.
    const last = join(folder, "state", "1.bin")
    writeFileSync(last, "")
    await goOn(folder, 3)
    writeFileSync(last, "")
    assert.equal(await restored(folder, [/state\/1\.bin is damaged/]), 1)
    writeFileSync(join(folder, "state.previous", "1.bin"), "")
    const message = await problem(run(folder, (store) => store.restore(identity, stateAt(0).pieces)))
    assert.match(
      message,
      /no checkpoint is whole: .*state\/1\.bin is damaged; .*previous\/1\.bin is damaged\. Start again/
    )
  }))
test("files of a folder of their own, and the best adapter beside the state", () =>
  inFolder(async (folder) => {
    const [binary] = adapterAt(1)
    const within = { ...checkpointAt(1), files: [{ ...binary!, name: "lr=1e-4/adapter.bin" }] }
    await must(run(folder, (store) => store.save(within)))
    assert.deepEqual(readdirSync(join(folder, "lr=1e-4")), ["adapter.bin"])
    for (const step of [1, 2]) {
      const kept = await must(run(folder, (store) => store.keep("best", adapterAt(step))))
      assert.equal(kept, join(folder, "best"))
      for (const { name, bytes } of adapterAt(step))
        assert.deepEqual(new Uint8Array(readFileSync(join(folder, "best", name))), bytes)
    }
    assert.deepEqual(readdirSync(folder).sort(), ["best", "lr=1e-4", "state"])
  }))

test("a file whose parts share one buffer; one that breaks off leaves what stood there", () =>
  inFolder(async (folder) => {
    const partsUpTo = (last: number) =>
      async function* () {
        const buffer = new Uint8Array(2)
        for (let i = 0; i < 5; i++) {
          if (i === last) throw new Error("the device is gone")
          yield buffer.fill(i)
        }
        buffer.fill(99)
      }
    const whole = { ...checkpointAt(1), files: [{ name: "adapter.bin", bytes: partsUpTo(5) }] }
    await must(run(folder, (store) => Effect.andThen(store.save(whole), store.keep("best", whole.files))))
    for (const name of ["adapter.bin", "best/adapter.bin"])
      assert.deepEqual([...readFileSync(join(folder, name))], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], name)
    const broken = { ...checkpointAt(2), files: [{ name: "adapter.bin", bytes: partsUpTo(3) }] }
    assert.match(await problem(run(folder, (store) => store.save(broken))), /adapter: the device is gone/)
    assert.match(await problem(run(folder, (store) => store.keep("best", broken.files))), /best: the device is gone/)
    assert.equal(readFileSync(join(folder, "adapter.bin")).length, 10)
    assert.equal(readFileSync(join(folder, "best/adapter.bin")).length, 10)
    assert.equal(await restored(folder), 1)
  }))

const lockOf = (folder: string) => join(folder, ".lock")
const acquire = (folder: string) => run(folder, () => Effect.sync(() => existsSync(lockOf(folder))))
test("one run has a folder; another of this process or a living one is told so; the lock goes with the run", () =>
  inFolder(async (folder) => {
    const inner = await must(run(folder, () => Effect.promise(() => problem(acquire(folder)))))
    assert.match(
      inner,
      /\.lock: another run is using .*adapter \(of this process\); wait for it to end, or give another --out/
    )
    assert.ok(!existsSync(lockOf(folder)))
    mkdirSync(folder, { recursive: true })
    const owner = { pid: process.ppid, host: hostname(), began: "", since: "2026" }
    writeFileSync(lockOf(folder), JSON.stringify(owner))
    assert.match(await problem(acquire(folder)), new RegExp(`process ${process.ppid}, since 2026`))
    writeFileSync(lockOf(folder), JSON.stringify({ ...owner, host: "elsewhere" }))
    assert.match(await problem(acquire(folder)), /a run on elsewhere holds it since 2026; if that has ended, delete/)
    assert.ok(existsSync(lockOf(folder)), "a lock of others stays")
    writeFileSync(lockOf(folder), "")
    const waiting = problem(acquire(folder))
    setTimeout(() => writeFileSync(lockOf(folder), JSON.stringify(owner)), 100)
    assert.match(await waiting, /it has just begun/)
    writeFileSync(lockOf(folder), '{"pid":')
    assert.equal(await must(acquire(folder)), true, "its run was killed as it wrote")
  }))
test("the lock of a process that is gone is taken over, also where its number came round again", () =>
  inFolder(async (folder) => {
    mkdirSync(folder, { recursive: true })
    const dead = { pid: 2 ** 22 + 12345, host: hostname(), began: "", since: "2026" }
    writeFileSync(lockOf(folder), JSON.stringify(dead))
    assert.equal(await must(acquire(folder)), true)
    writeFileSync(lockOf(folder), JSON.stringify({ ...dead, pid: process.pid }))
    assert.equal(await must(acquire(folder)), true, "of this process before it was killed in a test")
    if (existsSync("/proc/self/stat")) {
      writeFileSync(lockOf(folder), JSON.stringify({ ...dead, pid: process.ppid, began: "12" }))
      assert.equal(await must(acquire(folder)), true, "another process has the number")
    }
    assert.deepEqual(readdirSync(folder), [])
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
  test(`killed at any instant of ${first ? "the first" : "a later"} save, the folder holds the old state or the new, whole`, {
    timeout: 120_000
  }, async () => {
    const found = new Set<number>()
    let at = 1
    for (; ; at++) {
      let ended = false
      await inFolder(async (folder) => {
        if (!first) await must(run(folder, (store) => store.save(checkpointAt(1))))
        const { files: broken, changes } = failing(at, killed)
        const exit = await run(
          folder,
          (store) => Effect.andThen(store.restore(identity, stateAt(15).pieces), store.save(checkpointAt(2))),
          broken
        )
        ended = Exit.isSuccess(exit)
        assert.equal(ended, changes() < at)
        const step = await restored(folder)
        assert.ok(step === 2 || step === (first ? 0 : 1), `killed at change ${at}: step ${step}`)
        found.add(step)
        // The next save cleans up.
        await goOn(folder, 3)
        assert.equal(await restored(folder), 3)
        assert.deepEqual(readdirSync(folder).sort(), files(step === 0 ? 1 : 2))
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
                stat: file.stat,
                read: (buffer) => file.read(buffer),
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
      const exit = await run(
        folder,
        (store) => Effect.andThen(store.restore(identity, stateAt(15).pieces), store.save(checkpointAt(2))),
        limited
      )
      ended = Exit.isSuccess(exit)
      if (ended) return
      assert.match(await problem(Promise.resolve(exit)), /adapter: .*no space left on device/)
      assert.equal(await restored(folder), 1)
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "adapter.bin"))), adapterAt(1)[0]!.bytes)
      assert.deepEqual(readdirSync(folder).sort(), files(1))
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

test("room is asked for before the first save: as many states as lie there at one time, less what does", () =>
  inFolder(async (folder) => {
    const asked = (free: number, saves: number) =>
      problem(
        Effect.runPromiseExit(
          Effect.flatMap(CheckpointStore, (store) => store.requireRoom?.(10e9, 1e9, saves) ?? Effect.void).pipe(
            Effect.provide(FolderStore.layer(folder).pipe(Layer.provide(NodeServices.layer))),
            Effect.provideService(FreeSpace, () => free)
          )
        )
      )
    assert.match(
      await asked(11e9, 1),
      /adapter: 11\.00 GB .* are to be written \(the checkpoints\), and the disk has 11\.00/
    )
    assert.match(await asked(11e9, 2), /: 21\.00 GB /)
    assert.match(await asked(11e9, 100), /: 31\.00 GB /)
    await goOn(folder, 1)
    assert.match(await asked(11e9, 100), /adapter: 31\.00 GB \(31,001,0[34]\d,\d+ bytes\)/, "less some kilobytes")
    await assert.rejects(asked(40e9, 3), /it succeeded/)
  }))
