/**
 * Keeps two runs out of one folder. The lock is a file that names a process; one whose process is gone (it was killed) is
 * taken over. Where /proc tells when a process began, a process number that came round again is no owner either.
 */
import { hostname } from "node:os"
import { pid } from "node:process"
import { CheckpointError } from "@graft/core"
import { Effect, FileSystem, Path, Schema, type Scope } from "effect"

const Owner = Schema.fromJsonString(
  Schema.Struct({
    pid: Schema.Int,
    host: Schema.String,
    /** What /proc says of the process's begin; empty where there is no /proc. */
    began: Schema.String,
    since: Schema.String
  })
)
type Owner = typeof Owner.Type

/** Folders that runs of this process hold. */
const held = new Set<string>()
const NAME = ".lock"
/** A lock that cannot be read is being written, or its run was killed as it wrote: which, this many milliseconds tell. */
const BEING_WRITTEN = 500

const isAlive = (process_: number): boolean => {
  try {
    process.kill(process_, 0)
    return true
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === "EPERM" // signalling is not allowed: it lives. kill throws nothing else
  }
}

/** Holds `folder` for as long as the scope lives; it is made if it is not there. */
export const lockFolder = Effect.fnUntraced(function* (
  folder: string
): Effect.fn.Return<void, CheckpointError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const lock = path.join(folder, NAME)
  const key = path.resolve(folder)
  const fail = (problem: string) => new CheckpointError({ path: lock, message: `${lock}: ${problem}` })
  const asOurs = Effect.mapError((e: { readonly message: string }) => fail(e.message))

  /** Field 22 of /proc/<pid>/stat, behind the name in brackets. */
  const beganAt = (process_: number) =>
    fs.readFileString(`/proc/${process_}/stat`).pipe(
      Effect.map((text) => text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? ""),
      Effect.orElseSucceed(() => "")
    )
  const inUse = (by: string) =>
    fail(`another run is using ${folder} (${by}); wait for it to end, or give another --out`)
  const problemOf = (text: string) =>
    Effect.gen(function* () {
      const owner: Owner | undefined = yield* Schema.decodeUnknownEffect(Owner)(text).pipe(
        Effect.orElseSucceed(() => undefined)
      )
      if (owner === undefined) {
        yield* Effect.sleep(BEING_WRITTEN)
        const later = yield* Effect.orElseSucceed(fs.readFileString(lock), () => "")
        return later === text ? undefined : inUse("it has just begun")
      }
      if (owner.host !== hostname())
        return fail(
          `a run on ${owner.host} holds it since ${owner.since}; if that has ended, delete the file and start again`
        )
      if (owner.pid === pid) return held.has(key) ? inUse("of this process") : undefined
      if (!isAlive(owner.pid)) return undefined
      const began = yield* beganAt(owner.pid)
      const another = began !== "" && owner.began !== "" && began !== owner.began
      return another ? undefined : inUse(`process ${owner.pid}, since ${owner.since}`)
    })

  const own = JSON.stringify({ pid, host: hostname(), began: yield* beganAt(pid), since: new Date().toISOString() })
  const create = Effect.scoped(
    Effect.flatMap(fs.open(lock, { flag: "wx" }), (file) => file.writeAll(new TextEncoder().encode(own)))
  )
  const acquire = Effect.gen(function* () {
    yield* asOurs(fs.makeDirectory(folder, { recursive: true }))
    for (let attempt = 0; attempt < 3; attempt++) {
      const made = yield* create.pipe(
        Effect.as(true),
        Effect.catch((e) => (e.reason._tag === "AlreadyExists" ? Effect.succeed(false) : Effect.fail(fail(e.message))))
      )
      if (made) {
        held.add(key)
        return
      }
      const text = yield* Effect.orElseSucceed(fs.readFileString(lock), () => undefined)
      if (text === undefined) continue // it went just now
      const problem = yield* problemOf(text)
      if (problem !== undefined) return yield* problem
      // Whoever renames it first has taken it over; what was renamed must be what was looked at.
      const stale = path.join(folder, `${NAME}.${pid}.stale`)
      const taken = yield* Effect.orElseSucceed(Effect.as(fs.rename(lock, stale), true), () => false)
      if (!taken) continue
      const found = yield* Effect.orElseSucceed(fs.readFileString(stale), () => text)
      if (found !== text) {
        yield* asOurs(fs.rename(stale, lock))
        return yield* inUse("it took the folder over just now")
      }
      yield* asOurs(fs.remove(stale, { force: true }))
    }
    return yield* inUse("runs that begin at the same time")
  })
  yield* Effect.acquireRelease(acquire, () =>
    Effect.gen(function* () {
      held.delete(key)
      yield* Effect.ignore(fs.remove(lock, { force: true }))
    })
  )
})
