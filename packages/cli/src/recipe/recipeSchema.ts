/** The JSON Schema (draft 2020-12) of a recipe, for editors: the build writes it beside the package's code. */
import { type RecipeKey, recipeKeys } from "./RecipeKey.ts"

const typeOf = ({ kind, choices, many }: RecipeKey): object => {
  if (many) return { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] }
  if (kind === "choice") return { enum: choices }
  if (kind === "pairs") return { type: "object", additionalProperties: { type: "string" } }
  return { type: kind }
}

export const recipeSchema = () => ({
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "A recipe of graft train",
  type: "object",
  additionalProperties: false,
  properties: Object.fromEntries(recipeKeys.map((key) => [key.key, { ...typeOf(key), description: key.description }]))
})
