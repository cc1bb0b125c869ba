/**
 * llama.cpp as a judge, through node-llama-cpp, which the user installs where the command is run. Only what is called here is
 * described, so that nothing of it is needed to build or to install this package.
 */
import { createRequire } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect, type Scope } from "effect"
import { InvalidInput } from "../problems.ts"

interface Evaluated {
  readonly next: { readonly probabilities?: ReadonlyMap<number, number> }
}
type Asked = readonly [token: number, options: { readonly generateNext: { readonly probabilities: true } }]
interface Sequence {
  readonly controlledEvaluate: (tokens: ReadonlyArray<Asked>) => Promise<ReadonlyArray<Evaluated | undefined>>
}
interface Context {
  readonly getSequence: () => Sequence
  readonly dispose: () => Promise<void>
}
interface ContextOptions {
  readonly contextSize: number
  readonly batchSize: number
  readonly threads: number
  readonly lora?: { readonly adapters: ReadonlyArray<{ readonly filePath: string }> }
}
interface LoadedModel {
  readonly createContext: (options: ContextOptions) => Promise<Context>
  readonly dispose: () => Promise<void>
}
interface Library {
  readonly getLlama: (options: {
    readonly gpu: false
    readonly build: "never"
    readonly skipDownload: true
    readonly logLevel: string
  }) => Promise<{
    readonly loadModel: (options: { readonly modelPath: string }) => Promise<LoadedModel>
    readonly dispose: () => Promise<void>
  }>
}

const NAME = "node-llama-cpp"

const library = Effect.tryPromise({
  try: async () => {
    const path = createRequire(join(process.cwd(), "package.json")).resolve(NAME)
    return (await import(pathToFileURL(path).href)) as Library // its documented exports
  },
  catch: (cause) =>
    new InvalidInput({
      message: `--against llama.cpp needs ${NAME} in ${process.cwd()}: ${cause instanceof Error ? cause.message.split("\n")[0] : cause}. Install it there: npm install ${NAME}@3`
    })
})

const failed = (cause: unknown) =>
  new InvalidInput({ message: `llama.cpp: ${cause instanceof Error ? cause.message : String(cause)}` })

/** Tokens whose predictions are in memory at a time: each is a map of the whole vocabulary. */
const AT_ONCE = 16

/** What llama.cpp predicts after each token of a text: its probabilities by token. */
export type Judge = (
  tokens: ReadonlyArray<number>,
  adapter: string | undefined,
  take: (place: number, probabilities: ReadonlyMap<number, number>) => void
) => Effect.Effect<void, InvalidInput>

/** `threads`: no more than the cores that are free, for llama.cpp's workers wait for each other by spinning. */
export const llamaCpp = (modelPath: string, threads: number): Effect.Effect<Judge, InvalidInput, Scope.Scope> =>
  Effect.gen(function* () {
    const { getLlama } = yield* library
    const open = <A extends { readonly dispose: () => Promise<void> }>(make: () => Promise<A>) =>
      Effect.acquireRelease(Effect.tryPromise({ try: make, catch: failed }), (one) =>
        Effect.promise(() => one.dispose())
      )
    const llama = yield* open(() => getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" }))
    const model = yield* open(() => llama.loadModel({ modelPath }))
    return (tokens, adapter, take) =>
      Effect.scoped(
        Effect.gen(function* () {
          const context = yield* open(() =>
            model.createContext({
              contextSize: tokens.length + AT_ONCE, // a context that is full drops its first tokens
              batchSize: AT_ONCE,
              threads,
              ...(adapter === undefined ? {} : { lora: { adapters: [{ filePath: adapter }] } })
            })
          )
          const sequence = context.getSequence()
          for (let at = 0; at < tokens.length; at += AT_ONCE) {
            const part = tokens.slice(at, at + AT_ONCE)
            const asked = part.map((token): Asked => [token, { generateNext: { probabilities: true } }])
            const results = yield* Effect.tryPromise({ try: () => sequence.controlledEvaluate(asked), catch: failed })
            for (const [i, result] of results.entries()) {
              const probabilities = result?.next.probabilities
              if (probabilities !== undefined) take(at + i, probabilities)
            }
          }
        })
      )
  })
