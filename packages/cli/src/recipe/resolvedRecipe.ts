/** The recipe that a run folder keeps: what was asked for, and what followed from it where nothing was said. */
import { stringify } from "yaml"
import type { TrainInput } from "../flags/trainFlags.ts"
import { recipeKeys } from "./RecipeKey.ts"

/** Where a run is kept and whether it goes on is nothing that its result depends on. */
const NOT_KEPT: ReadonlyArray<string> = ["out", "resume"]

/** `resolved`: values that the run settled itself, as its steps and its learning rate. */
export const resolvedRecipe = (input: TrainInput, resolved: Partial<TrainInput>): Readonly<Record<string, unknown>> => {
  const all: Readonly<Record<string, unknown>> = { ...input, ...resolved }
  return Object.fromEntries(
    recipeKeys.flatMap(({ key }) => {
      const value = all[key]
      const empty = value === undefined || (Array.isArray(value) && value.length === 0)
      return empty || NOT_KEPT.includes(key) ? [] : [[key, value]]
    })
  )
}

export const recipeText = (recipe: Readonly<Record<string, unknown>>, version: string): string =>
  `# As graft ${version} resolved it. Running it again gives the same bytes on the same machine:  graft train recipe.yaml --out DIR\n${stringify(recipe)}`
