/**
 * Runs the command with given arguments. Exit codes: 0 success; 1 an error, which stands on standard error; 130 stopped by
 * Ctrl-C, 143 by SIGTERM.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { errorText, problemOf } from "./errorText.ts"
import { cliConfig, graft } from "./graft.ts"
import { presenter } from "./presenter.ts"
import { Stopping, watchSignals } from "./Stopping.ts"
import { version } from "./version.ts"

const LONG = 2 ** 31 - 1 // the longest a timer takes, in ms

export const runGraft = async (words: ReadonlyArray<string>): Promise<number> => {
  const json = words.includes("--json")
  const args = await withRecipe(words, json)
  if (typeof args === "number") return args
  const signals = watchSignals()
  // A promise alone keeps no runtime alive.
  const alive = setInterval(() => {}, LONG)
  try {
    const fiber = Effect.runFork(
      Command.runWith(graft, { version: version() })(args).pipe(
        Effect.provideService(Stopping, signals.requests),
        Effect.provideService(CliConfig.CliConfig, cliConfig),
        Effect.provideService(CliOutput.Presenter, presenter(json)),
        Effect.provide(NodeServices.layer)
      )
    )
    signals.attach(fiber)
    const exit = await Effect.runPromise(Fiber.await(fiber))
    return exitCode(exit, json, signals.asked)
  } finally {
    clearInterval(alive)
    signals.unwatch()
  }
}

/** The words with a recipe's flags in them, or the exit code where that is all. */
const withRecipe = async (words: ReadonlyArray<string>, json: boolean): Promise<ReadonlyArray<string> | number> => {
  try {
    const { expandRecipe } = await import("./recipe/expandRecipe.ts")
    return (await expandRecipe(words, (line) => process.stdout.write(`${line}\n`))) ?? 0
  } catch (error) {
    process.stderr.write(errorText(problemOf(error), json))
    return 1
  }
}

const exitCode = (exit: Exit.Exit<void, unknown>, json: boolean, asked: number | undefined): number => {
  if (Exit.isSuccess(exit)) return 0
  // A live line may stand where the words are to come.
  if (process.stdout.isTTY && !json) process.stdout.write("\r\x1b[K")
  if (Cause.hasInterruptsOnly(exit.cause)) {
    process.stderr.write("stopped\n")
    return asked ?? 130
  }
  const error = Cause.squash(exit.cause)
  const problem = problemOf(error)
  if (problem.tag === "ShowHelp") return 1 // has been presented
  if (problem.tag === "Stopped") {
    process.stderr.write(json ? errorText(problem, true) : `${problem.message}\n`)
    return asked ?? 130
  }
  process.stderr.write(errorText(problem, json))
  return 1
}
