/** What `graft train --init` writes: every key with what it does, those commented out that have a default. */
import { stringify } from "yaml"
import { recipeKeys } from "./RecipeKey.ts"

/** Where the schema lies in a project that has installed the command. */
const SCHEMA = "node_modules/@graft/cli/dist/recipe.schema.json"
const WIDTH = 118

/** `chosen`: values that stand in the recipe instead of a comment. */
export const commentedRecipe = (chosen: Readonly<Record<string, unknown>>): string => {
  const lines = [
    `# yaml-language-server: $schema=${SCHEMA}`,
    "# A recipe of `graft train`: its flags in a file. Flags given beside it win. Run it:  graft train recipe.yaml",
    ""
  ]
  for (const { key, kind, choices, many, description } of recipeKeys) {
    lines.push(...wrapped(description).map((line) => `# ${line}`))
    if (Object.hasOwn(chosen, key)) lines.push(stringify({ [key]: chosen[key] }).trimEnd())
    else {
      const shape = many ? "[…]" : kind === "choice" ? choices.join(" | ") : kind === "pairs" ? "{…}" : `<${kind}>`
      lines.push(`# ${key}: ${shape}`)
    }
    lines.push("")
  }
  return lines.join("\n")
}

const wrapped = (text: string): ReadonlyArray<string> => {
  const lines = [""]
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? ""
    if (last.length + word.length + 1 > WIDTH) lines.push(word)
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`
  }
  return lines
}
