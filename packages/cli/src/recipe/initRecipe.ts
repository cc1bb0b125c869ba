/** `graft train --init [recipe.yaml] [flags]`: writes a recipe with every key explained and the given flags filled in. */
import { existsSync, writeFileSync } from "node:fs"
import { InvalidInput } from "../problems.ts"
import { commentedRecipe } from "./commentedRecipe.ts"
import { type RecipeKey, recipeKeys } from "./RecipeKey.ts"

const DEFAULT_PATH = "recipe.yaml"
/** What a run cannot do without stands there to be changed. */
const placeholders = { model: "./MODEL", data: ["rows.jsonl"] }

/** The path that was written. @throws InvalidInput */
export const initRecipe = (path = DEFAULT_PATH, words: ReadonlyArray<string> = []): string => {
  if (!/\.ya?ml$/.test(path))
    throw new InvalidInput({ message: `${path}: --init writes YAML; name a file that ends in .yaml` })
  if (existsSync(path)) throw new InvalidInput({ message: `${path} is there already; name another, or move it away` })
  writeFileSync(path, `${commentedRecipe({ ...placeholders, ...chosenBy(words) })}\n`, { flag: "wx" })
  return path
}

const chosenBy = (words: ReadonlyArray<string>): Readonly<Record<string, unknown>> => {
  const chosen: Record<string, unknown> = {}
  for (let i = 0; i < words.length; i++) {
    const [name = "", ...inline] = words[i]?.split("=") ?? []
    if (name === "--init") continue
    const key = recipeKeys.find(({ flag, aliases }) =>
      [flag, ...aliases].some((one) => name === `--${one}` || name === `-${one}`)
    )
    const off = recipeKeys.find(({ negation }) => negation !== undefined && name === `--${negation}`)
    if (off !== undefined) chosen[off.key] = false
    else if (key === undefined) throw new InvalidInput({ message: `there is no flag ${name} of graft train` })
    else if (key.kind === "boolean") chosen[key.key] = true
    else {
      const text = inline.length > 0 ? inline.join("=") : words[++i]
      if (text === undefined) throw new InvalidInput({ message: `${name} wants a value` })
      chosen[key.key] = parsed(key, text, chosen[key.key])
    }
  }
  return chosen
}

const parsed = ({ kind, many }: RecipeKey, text: string, before: unknown): unknown => {
  if (many) return [...(Array.isArray(before) ? before : []), text]
  if (kind === "pairs") {
    const [from = "", ...to] = text.split("=")
    return { ...(typeof before === "object" ? before : {}), [from]: to.join("=") }
  }
  return kind === "integer" || kind === "number" ? Number(text) : text
}
