/**
 * A run in code, without Effect: the recipe of `graft train` as an object, its events as an async iterable. `signal` ends it
 * as Ctrl-C does, with what was learnt saved; leaving the loop ends it at once.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { type TrainEvent, Trainer } from "@graft/core"
import { Effect, Layer, Stream } from "effect"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import { type TrainInput, trainFlags } from "./flags/trainFlags.ts"
import { InvalidInput } from "./problems.ts"
import { recipeArguments } from "./recipe/recipeArguments.ts"
import { prepareRun } from "./stack/prepareRun.ts"
import { requireWritable } from "./stack/requireWritable.ts"
import { version } from "./version.ts"

/** The keys of a recipe: `graft train`'s flags in camel case. All but `model` and `data` may be left out. */
export type Recipe = Pick<TrainInput, "model"> & { readonly data: string | ReadonlyArray<string> } & Partial<
    Omit<TrainInput, "model" | "data" | "json" | "recipe" | "init">
  >

export interface FineTuneOptions {
  readonly signal?: AbortSignal
}

/** @throws the errors of the packages where they happen; InvalidInput for a recipe that is none. */
export const fineTune = (recipe: Recipe, { signal }: FineTuneOptions = {}): AsyncIterable<TrainEvent> => {
  const events = Effect.gen(function* () {
    const input = yield* inputOf(recipe)
    if (recipe.out !== undefined) yield* requireWritable(recipe.out)
    const { stack } = yield* prepareRun(input, recipe.out)
    const trainer = yield* Effect.provide(Trainer, yield* Layer.build(stack))
    if (signal !== undefined) yield* stopOn(signal, trainer.stop)
    return trainer.run
  })
  return Stream.toAsyncIterable(Stream.unwrap(events).pipe(Stream.provide(NodeServices.layer)))
}

const stopOn = (signal: AbortSignal, stop: Effect.Effect<void>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const listener = () => Effect.runFork(stop)
      if (signal.aborted) listener()
      else signal.addEventListener("abort", listener, { once: true })
      return listener
    }),
    (listener) => Effect.sync(() => signal.removeEventListener("abort", listener))
  )

/** The recipe read as the flags it stands for, so that defaults and checks are those of the command. */
const inputOf = Effect.fnUntraced(function* (recipe: Recipe) {
  const words = yield* Effect.try({
    try: () => recipeArguments("fineTune", recipe, []),
    catch: (error) => (error instanceof InvalidInput ? error : new InvalidInput({ message: String(error) }))
  })
  let input: TrainInput | undefined
  let wrong = ""
  const parse = Command.make("fineTune", trainFlags, (parsed) =>
    Effect.sync(() => {
      input = parsed
    })
  )
  yield* Command.runWith(parse, { version: version() })(words).pipe(
    Effect.provideService(CliOutput.Presenter, {
      present: (event) =>
        Effect.sync(() => {
          if (event._tag === "InvalidInvocation") wrong = event.errors.map(({ message }) => message).join("\n")
        })
    }),
    Effect.mapError((error) => new InvalidInput({ message: wrong === "" ? error.message : wrong }))
  )
  return input ?? (yield* new InvalidInput({ message: wrong }))
})
