/** A step of the build: dist/help.json, the help of every verb as the command itself presents it, and the recipe's JSON Schema. */
import { writeFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { cliConfig, graft } from "../src/graft.ts"
import type { KeptHelp } from "../src/keptHelp.ts"
import { recipeSchema } from "../src/recipe/recipeSchema.ts"
import { version } from "../src/version.ts"

const plain = CliOutput.defaultFormatter({ colors: false })
const coloured = CliOutput.defaultFormatter({ colors: true })

const pathsBelow = (
  command: Command.Command.Any,
  path: ReadonlyArray<string>
): ReadonlyArray<ReadonlyArray<string>> => [
  path,
  ...command.subcommands.flatMap(({ commands }) => commands.flatMap((one) => pathsBelow(one, [...path, one.name])))
]
const helpOf = (path: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    let help: KeptHelp[string] | undefined
    yield* Command.runWith(graft, { version: version() })([...path, "--help"]).pipe(
      Effect.provideService(CliOutput.Presenter, {
        present: (event) =>
          Effect.sync(() => {
            if (event._tag === "Help")
              help = { plain: plain.formatHelpDoc(event.helpDoc), coloured: coloured.formatHelpDoc(event.helpDoc) }
          })
      }),
      Effect.provideService(CliConfig.CliConfig, cliConfig)
    )
    if (help === undefined) throw new Error(`graft ${path.join(" ")} --help presents no help`)
    return [path.join(" "), help] as const
  })
const all = await Effect.runPromise(
  Effect.forEach(pathsBelow(graft, []), helpOf).pipe(Effect.provide(NodeServices.layer))
)
writeFileSync(new URL("../dist/help.json", import.meta.url), JSON.stringify(Object.fromEntries(all)))
writeFileSync(new URL("../dist/recipe.schema.json", import.meta.url), `${JSON.stringify(recipeSchema(), null, 2)}\n`)
