/**
 * Which TensorFlow.js packages are here, the best first, and why another is not: the packages that bring libtensorflow and CUDA
 * fail in ways whose messages name a file and no remedy.
 */
import { Effect } from "effect"
import type { TensorFlow } from "./TensorFlow.ts"
import { TfjsUnavailable } from "./Tfjs.ts"

interface Candidate {
  readonly name: string
  /** The backend that it registers. */
  readonly backend: string
  /** The package whose module is used; itself where left out. */
  readonly module?: string
}
/** Only one of the first two can be loaded into a process. */
const candidates: ReadonlyArray<Candidate> = [
  { name: "@tensorflow/tfjs-node-gpu", backend: "tensorflow" },
  { name: "@tensorflow/tfjs-node", backend: "tensorflow" },
  { name: "@tensorflow/tfjs-backend-wasm", backend: "wasm", module: "@tensorflow/tfjs-core" },
  { name: "@tensorflow/tfjs-backend-cpu", backend: "cpu", module: "@tensorflow/tfjs-core" }
]
export interface TfjsPackage {
  readonly name: string
  readonly backend: string
  readonly loads: boolean
  /** What it runs on, or why it does not load and what to do. */
  readonly detail: string
}
export interface FoundTfjs {
  /** Every package that was looked for, the best first. */
  readonly packages: ReadonlyArray<TfjsPackage>
  /** The best that loads. */
  readonly best: { readonly name: string; readonly backend: string; readonly tf: TensorFlow } | undefined
}
/** Imports a package by name; a parameter, so that tests can play what no machine of theirs has. */
export type ImportPackage = (name: string) => Promise<unknown>

/** From this package, else from where the program was started. */
const importPackage: ImportPackage = async (name) => {
  try {
    return await import(name)
  } catch (e) {
    if (!isMissing(e, name)) throw e
    const [{ createRequire }, { pathToFileURL }] = [await import("node:module"), await import("node:url")]
    const here = createRequire(`${process.cwd()}/package.json`)
    let path: string
    try {
      path = here.resolve(name)
    } catch {
      throw e
    }
    return import(pathToFileURL(path).href)
  }
}
const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))
const isMissing = (e: unknown, name: string): boolean =>
  /Cannot find (module|package)|not find package|ERR_MODULE_NOT_FOUND|Could not resolve/i.test(messageOf(e)) &&
  messageOf(e).includes(name)

/** What a failure to load means. */
const reasonOf = (e: unknown, { name, module = name }: Candidate): string => {
  const message = messageOf(e)
  const library = /([\w+.-]*\.(?:so|dylib|dll)[\w.]*)\b[^\n]*(?:cannot open|no such file|not found|not loaded)/i.exec(
    message
  )?.[1]
  if (isMissing(e, name)) return "is not installed"
  if (isMissing(e, module)) return `needs ${module}, which is not installed`
  if (/tfjs_binding\.node/.test(message) && library === undefined)
    return `its native addon was not built: its install script must run and reach the download of libtensorflow (npm rebuild ${name} --build-addon-from-source)`
  if (library !== undefined && /tensorflow/i.test(library))
    return `${library} is missing: the download of libtensorflow did not finish; install ${name} anew with its scripts allowed`
  if (library !== undefined && /cu|nv/i.test(library))
    return `the CUDA library ${library} is missing: install CUDA 11 with cuDNN 8 and put them on LD_LIBRARY_PATH, or use @tensorflow/tfjs-node`
  if (library !== undefined) return `the library ${library} is missing`
  return `does not load: ${message.split("\n")[0]}`
}
/** A module that a CommonJS package gives may lie under `default`. */
const moduleOf = (imported: unknown): TensorFlow => {
  const both = imported as TensorFlow & { readonly default?: TensorFlow } // checked below, before it is used
  const tf = typeof both.setBackend === "function" ? both : both.default
  if (typeof tf?.setBackend !== "function") throw new TypeError("it is no TensorFlow.js module")
  return tf
}

const load = async ({ name, backend, module }: Candidate, importing: ImportPackage) => {
  const imported = await importing(name)
  const tf = moduleOf(module === undefined ? imported : await importing(module))
  tf.enableProdMode?.() // without the advice to install another package
  if (!(await tf.setBackend(backend))) throw new Error(`its backend ${backend} does not start`)
  await tf.ready()
  return tf
}
const onWhat = (tf: TensorFlow, { name, backend }: Candidate): string => {
  const device = tf.backend?.()
  if (device !== undefined && "isUsingGpuDevice" in device && device.isUsingGpuDevice === true) return "runs on the GPU"
  if (name.endsWith("-gpu"))
    return "runs on the CPU: it finds no CUDA device, or not all CUDA libraries (its warnings name them)"
  return backend === "tensorflow"
    ? "runs on the CPU by libtensorflow"
    : backend === "wasm"
      ? "runs in WebAssembly"
      : "runs in JavaScript, slowly"
}

/** Looks for all of them. The module of the best is loaded and has its backend set. */
export const findTfjs = (importing: ImportPackage = importPackage): Effect.Effect<FoundTfjs> =>
  Effect.promise(async () => {
    const packages: Array<TfjsPackage> = []
    let best: FoundTfjs["best"]
    for (const candidate of candidates) {
      const { name, backend } = candidate
      const say = (loads: boolean, detail: string) => packages.push({ name, backend, loads, detail })
      if (best?.backend === backend) {
        say(false, `is not loaded beside ${best.name}`)
        continue
      }
      try {
        const tf = await load(candidate, importing)
        say(true, onWhat(tf, candidate))
        best ??= { name, backend, tf }
      } catch (e) {
        say(false, reasonOf(e, candidate))
      }
    }
    if (best !== undefined) await best.tf.setBackend(best.backend)
    return { packages, best }
  })

/** The best, or an error that says of each why not. */
export const bestTfjs = (importing?: ImportPackage) =>
  Effect.gen(function* () {
    const { packages, best } = yield* findTfjs(importing)
    if (best !== undefined) return best
    return yield* new TfjsUnavailable({
      message: `no TensorFlow.js package loads: ${packages.map(({ name, detail }) => `${name} ${detail}`).join("; ")}. Install one: @tensorflow/tfjs-node-gpu with CUDA, else @tensorflow/tfjs-backend-wasm and @tensorflow/tfjs-core`
    })
  })
