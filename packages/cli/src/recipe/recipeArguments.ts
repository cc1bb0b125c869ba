/** A recipe's value as the flags that say the same. Every problem is found at once; the flags' own checks come after. */
import { nearest } from "@graft/core"
import { InvalidInput } from "../problems.ts"
import { type RecipeKey, recipeKeys } from "./RecipeKey.ts"

type Entry = readonly [RecipeKey, unknown]

/** `given`: the words after the verb; a flag among them wins over the recipe. @throws InvalidInput */
export const recipeArguments = (path: string, recipe: unknown, given: ReadonlyArray<string>): ReadonlyArray<string> =>
  entriesOf(path, recipe)
    .filter(([key]) => !given.some((word) => names(key).includes(word.split("=", 1)[0] ?? "")))
    .flatMap(([key, value]) => wordsOf(key, value))

const names = ({ flag, aliases, negation }: RecipeKey): ReadonlyArray<string> => [
  `--${flag}`,
  ...(negation === undefined ? [] : [`--${negation}`]),
  ...aliases.map((alias) => (alias.length === 1 ? `-${alias}` : `--${alias}`))
]

const entriesOf = (path: string, recipe: unknown): ReadonlyArray<Entry> => {
  if (typeof recipe !== "object" || recipe === null || Array.isArray(recipe))
    throw new InvalidInput({ message: `${path}: a recipe is keys with values, as in \`model: ./model\`` })
  const problems: Array<string> = []
  const entries: Array<Entry> = []
  for (const [name, value] of Object.entries(recipe)) {
    const key = recipeKeys.find((one) => one.key === name)
    if (key === undefined) problems.push(unknownKey(name))
    else if (value === null || value === undefined) continue
    else {
      const wanted = wantedOf(key, value)
      if (wanted === undefined) entries.push([key, value])
      else problems.push(`${name}: is ${JSON.stringify(value)}, wanted ${wanted}`)
    }
  }
  if (problems.length > 0) throw new InvalidInput({ message: problems.map((one) => `${path}: ${one}`).join("\n") })
  return entries
}

const unknownKey = (name: string): string => {
  const keys = recipeKeys.map(({ key }) => key)
  // Whoever writes a flag's name means the flag.
  const meant = recipeKeys.find(({ flag, aliases }) => [flag, ...aliases].includes(name.replaceAll("_", "-")))?.key
  const close = meant ?? nearest(name, keys)
  return `there is no key ${name}${close === undefined ? "; `graft train --init` writes a recipe with all there are" : `, did you mean ${close}?`}`
}

/** What the key takes, where the value is not it. */
const wantedOf = ({ kind, many, choices }: RecipeKey, value: unknown): string | undefined => {
  const isText = (one: unknown): boolean => typeof one === "string" && one !== ""
  if (many)
    return isText(value) || (Array.isArray(value) && value.every(isText)) ? undefined : "a text or a list of texts"
  switch (kind) {
    case "boolean":
      return typeof value === "boolean" ? undefined : "true or false"
    case "integer":
      return Number.isSafeInteger(value) ? undefined : "an integer"
    case "number":
      return Number.isFinite(value) ? undefined : "a number"
    case "choice":
      return choices.some((choice) => choice === value) ? undefined : `one of ${choices.join(", ")}`
    case "string":
      // YAML reads `sweep: 8` as a number; a flag takes it as the text it was.
      return isText(value) || Number.isFinite(value) ? undefined : "a text"
    case "pairs":
      return typeof value === "object" && !Array.isArray(value) && Object.values(value ?? {}).every(isText)
        ? undefined
        : "keys with texts"
  }
}

const wordsOf = ({ flag, kind, many, negation }: RecipeKey, value: unknown): ReadonlyArray<string> => {
  if (kind === "boolean") return value === true ? [`--${flag}`] : negation === undefined ? [] : [`--${negation}`]
  // With "=", so that a value may begin with a dash.
  if (kind === "pairs") return Object.entries(value ?? {}).map(([from, to]) => `--${flag}=${from}=${to}`)
  return (many && Array.isArray(value) ? value : [value]).map((one) => `--${flag}=${one}`)
}
