/**
 * `graft train recipe.yaml --rank 8` is `graft train` with the recipe's flags and then those given: recipes are put in
 * before the arguments are parsed. `--init` writes a recipe instead of running one.
 */
import { existsSync } from "node:fs"
import { InvalidInput } from "../problems.ts"
import { initRecipe } from "./initRecipe.ts"
import { isRecipePath, readRecipe } from "./readRecipe.ts"
import { recipeArguments } from "./recipeArguments.ts"

const VERBS: ReadonlyArray<string> = ["train", "plan"]

/** The words with the recipe's flags put in; undefined where a recipe was written and all is done. @throws InvalidInput */
export const expandRecipe = async (
  args: ReadonlyArray<string>,
  say: (line: string) => void
): Promise<ReadonlyArray<string> | undefined> => {
  const [verb = "", ...words] = args
  if (!VERBS.includes(verb)) return args
  const { path, rest } = recipePath(words)
  if (rest.includes("--init")) {
    const written = initRecipe(path, rest)
    say(`wrote ${written}. Put in your model and rows, then:  graft train ${written}`)
    return undefined
  }
  if (path === undefined) return args
  if (!existsSync(path))
    throw new InvalidInput({ message: `${path}: there is no such recipe; \`graft train --init\` writes one` })
  return [verb, ...recipeArguments(path, await readRecipe(path), rest), ...rest]
}

/** A recipe is the first word after the verb, or what `--recipe` names. */
const recipePath = (
  words: ReadonlyArray<string>
): { readonly path: string | undefined; readonly rest: ReadonlyArray<string> } => {
  const [first = ""] = words
  if (!first.startsWith("-") && isRecipePath(first)) return { path: first, rest: words.slice(1) }
  const at = words.findIndex((word) => word === "--recipe" || word.startsWith("--recipe="))
  if (at < 0) return { path: undefined, rest: words }
  const word = words[at] ?? ""
  const apart = word === "--recipe"
  return {
    path: apart ? words[at + 1] : word.slice("--recipe=".length),
    rest: words.filter((_, i) => i !== at && !(apart && i === at + 1))
  }
}
