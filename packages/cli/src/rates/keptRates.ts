/**
 * What this machine was measured to do, kept in the user's cache folder, so that a plan can tell time without measuring. One
 * file, an entry for each (version, processor, instruction set, threads). It is a cache: what cannot be read counts as absent.
 */
import { mkdirSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { homedir } from "node:os"
import { dirname, join } from "node:path"
import { loadNative } from "@graft/backend-cpu"
import { fileError, replaceFile } from "@graft/safetensors"
import { Effect, Schema } from "effect"
import { version } from "../version.ts"

const Rate = Schema.Finite.check(Schema.isGreaterThan(0))
const ByFormat = Schema.Struct({ f32: Schema.optionalKey(Rate), bf16: Schema.optionalKey(Rate) })
const Rates = Schema.Struct({
  /** ISO 8601, of the latest of them. */
  measured: Schema.String,
  /** Floating-point operations a second in registers. */
  peak: ByFormat,
  /** Floating-point operations a second of large products. */
  products: ByFormat,
  /** Bytes a second read from memory. */
  memory: Schema.optionalKey(Rate),
  /** Bytes a second read from the disk of the cache folder. */
  disk: Schema.optionalKey(Rate)
})
export type Rates = typeof Rates.Type
const decodeFile = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Record(Schema.String, Rates)))

export interface Machine {
  readonly processor: string
  readonly isa: string
  readonly threads: number
}
/** The machine as a run with these flags would use it. @throws where there is no native library */
export const machineOf = (flags: { readonly threads?: number | undefined; readonly isa?: string | undefined }) => {
  const { model, isa, cores } = loadNative().info()
  return { processor: model, isa: flags.isa ?? isa, threads: flags.threads ?? cores } satisfies Machine
}

type Environment = Readonly<Record<string, string | undefined>>

/** XDG_CACHE_HOME where it is set, else where the system keeps caches. */
export const cacheFolder = (env: Environment = process.env, platform: string = process.platform): string => {
  const { XDG_CACHE_HOME: xdg = "", LOCALAPPDATA: local = "" } = env
  if (xdg !== "") return join(xdg, "graft")
  if (platform === "darwin") return join(homedir(), "Library", "Caches", "graft")
  if (platform === "win32" && local !== "") return join(local, "graft", "cache")
  return join(homedir(), ".cache", "graft")
}
export const ratesFile = (): string => join(cacheFolder(), "rates.json")

const keyOf = ({ processor, isa, threads }: Machine): string => [version(), processor, isa, threads].join(" | ")

const entries = Effect.promise(async (): Promise<Readonly<Record<string, Rates>>> => {
  try {
    return decodeFile(await readFile(ratesFile(), "utf8"))
  } catch {
    return {}
  }
})

export const keptRates = (machine: Machine): Effect.Effect<Rates | undefined> =>
  Effect.map(entries, (all) => all[keyOf(machine)])

/** Puts what was measured over what is kept of the same machine; the file is replaced whole. */
export const keepRates = (machine: Machine, found: Omit<Rates, "measured">) =>
  Effect.gen(function* () {
    const all = yield* entries
    const key = keyOf(machine)
    const before = all[key]
    const rates: Rates = {
      ...before,
      ...found,
      peak: { ...before?.peak, ...found.peak },
      products: { ...before?.products, ...found.products },
      measured: new Date().toISOString()
    }
    const path = ratesFile()
    yield* Effect.try({
      try: () => mkdirSync(dirname(path), { recursive: true }),
      catch: (cause) => fileError(path, "write", cause)
    })
    yield* replaceFile(path, [new TextEncoder().encode(`${JSON.stringify({ ...all, [key]: rates }, null, 2)}\n`)])
    return path
  })
