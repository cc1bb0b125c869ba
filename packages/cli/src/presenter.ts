/** A wrong invocation as one paragraph: what is wrong, the nearest name, and where the right ones are listed. */
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Effect from "effect/Effect"
import { errorText } from "./errorText.ts"

const oneLine = (error: CliError.NonShowHelpErrors): string => {
  const where = (path: ReadonlyArray<string> | undefined) => (path === undefined ? "" : ` of ${path.join(" ")}`)
  const meant = (names: ReadonlyArray<string>) => (names.length === 0 ? "" : `; did you mean ${names.join(" or ")}?`)
  switch (error._tag) {
    case "UnrecognizedOption":
      return `there is no flag ${error.option}${where(error.command)}${meant(error.suggestions)}`
    case "UnknownSubcommand":
      return `there is no verb ${error.subcommand}${where(error.parent)}${meant(error.suggestions)}`
    case "MissingOption":
      return `--${error.option} is missing`
    case "InvalidValue":
      return error.kind === "argument"
        ? `<${error.option}> is "${error.value}"; expected ${error.expected}`
        : error.value === ""
          ? `--${error.option} wants a value: ${error.expected}`
          : `--${error.option} is "${error.value}"; expected ${error.expected}`
    default:
      return error.message.replace(/\s*\n\s*/g, " ")
  }
}

export const presenter = (json: boolean): CliOutput.Presenter => ({
  present: (event) => {
    if (event._tag !== "InvalidInvocation") return CliOutput.defaultPresenter.present(event)
    const said = event.errors.map(oneLine).join("\n")
    const message = `${said}\n\`${event.commandPath.join(" ")} --help\` lists what there is.`
    return Effect.sync(() => {
      process.stderr.write(errorText({ tag: "InvalidInvocation", message }, json))
    })
  }
})
