/** A verb of the command: its flags are known at once, its program is imported when it is run. */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"

export interface Example {
  readonly command: string
  readonly description: string
}
interface VerbOptions<Config extends Command.Command.Config, E, R> {
  readonly description: string
  readonly examples: ReadonlyArray<Example>
  readonly config: Config
  readonly load: () => Promise<(input: Command.Command.Config.Infer<Config>) => Effect.Effect<void, E, R>>
}

export const verb = <const Name extends string, const Config extends Command.Command.Config, E, R>(
  name: Name,
  { description, examples, config, load }: VerbOptions<Config, E, R>
) =>
  Command.make(name, config, (input) => Effect.flatMap(Effect.promise(load), (run) => run(input))).pipe(
    Command.withDescription(description),
    Command.withExamples(examples)
  )
