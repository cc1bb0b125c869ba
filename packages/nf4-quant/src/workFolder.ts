/**
 * The folder in which a checkpoint grows, `.quantizing` inside of the one that is written: what the run is (plan.json), a file
 * for each finished weight, and a lock of each run at work. All of it goes at the end.
 */
import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { FileError, fileError, removeHalves, replaceFile } from "@graft/safetensors"
import { Effect, type Scope } from "effect"

export const WEIGHTS = "model.safetensors"
/** Without it a folder is no model: written last. */
export const CONFIG = "config.json"

const WORK = ".quantizing"
const PLAN = "plan.json"
const LOCK = /^(\d+)-([0-9a-f]{12})\.lock$/

export interface WorkFolder {
  /** An earlier run wrote everything and did not come to clear up. */
  readonly done: boolean
  /** Where the weight of this number is kept; a file that is there is whole. */
  readonly piece: (index: number) => string
  readonly clear: Effect.Effect<void, FileError>
}

export const fileStep = <A>(path: string, act: () => Promise<A>): Effect.Effect<A, FileError> =>
  Effect.tryPromise({ try: act, catch: (cause) => fileError(path, "write", cause) })

/** Opens `out` for a run of this plan; other runs are kept away while the scope lives. */
export const openWorkFolder = (out: string, plan: string): Effect.Effect<WorkFolder, FileError, Scope.Scope> =>
  Effect.gen(function* () {
    const work = join(out, WORK)
    const planFile = join(work, PLAN)
    const whole = () => existsSync(join(out, CONFIG))
    const taken = new FileError({
      message: `${out} holds a model already. Write to another folder, or remove it first.`,
      path: out,
      operation: "write",
      code: "EEXIST"
    })
    if (!existsSync(planFile) && (whole() || existsSync(join(out, WEIGHTS)))) return yield* taken
    yield* fileStep(work, () => mkdir(work, { recursive: true }))
    yield* lock(work)
    const begun = existsSync(planFile) ? yield* fileStep(planFile, () => readFile(planFile, "utf8")) : undefined
    if (whole() && begun !== plan) return yield* taken
    for (const folder of [out, work]) yield* removeHalves(folder)
    if (begun !== plan) {
      yield* removeMatching(work, /\.(?:safetensors|json)$/)
      yield* replaceFile(planFile, [new TextEncoder().encode(plan)])
    }
    return {
      done: whole(),
      piece: (index) => join(work, `${index}.safetensors`),
      clear: fileStep(work, () => rm(work, { recursive: true, force: true }))
    }
  })

const removeMatching = (folder: string, pattern: RegExp): Effect.Effect<void, FileError> =>
  fileStep(folder, async () => {
    for (const name of await readdir(folder)) if (pattern.test(name)) await rm(join(folder, name), { force: true })
  })

/** Locks of this process: one of its number that is not among them was left by another, which is dead. */
const own = new Set<string>()

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return cause instanceof Error && "code" in cause && cause.code === "EPERM"
  }
}

/**
 * A run writes a lock of its own and then looks for others, so that of two at once at least one sees the other. Only locks of
 * processes that are no more are removed.
 */
const lock = (work: string): Effect.Effect<void, FileError, Scope.Scope> =>
  Effect.gen(function* () {
    const mine = `${process.pid}-${randomBytes(6).toString("hex")}.lock`
    yield* Effect.acquireRelease(
      fileStep(work, async () => {
        await writeFile(join(work, mine), "", { flag: "wx" })
        own.add(mine)
      }),
      () =>
        Effect.promise(() => {
          own.delete(mine)
          return rm(join(work, mine), { force: true })
        })
    )
    for (const name of yield* fileStep(work, () => readdir(work))) {
      const pid = Number(LOCK.exec(name)?.[1])
      if (name === mine || Number.isNaN(pid)) continue
      const path = join(work, name)
      if (pid === process.pid ? own.has(name) : alive(pid))
        return yield* new FileError({
          message: `${path}: process ${pid} writes here now. Wait for it, or write to another folder; if it is no run of this, remove the file.`,
          path,
          operation: "write",
          code: "EBUSY"
        })
      yield* fileStep(path, () => rm(path, { force: true }))
    }
  })
