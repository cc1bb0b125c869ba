/**
 * A recipe is the flags of `graft train` in a file: its keys are derived from them, so that there is one schema, and a new
 * flag is a new key. Keys are the flags' names in camel case (`--learning-rate` is `learningRate`).
 */
import type * as Flag from "effect/cli/Flag"
import type * as Param from "effect/cli/Param"
import * as Option from "effect/Option"
import { trainFlags } from "../flags/trainFlags.ts"

export interface RecipeKey {
  readonly key: string
  readonly flag: string
  readonly aliases: ReadonlyArray<string>
  readonly kind: "boolean" | "integer" | "number" | "string" | "choice" | "pairs"
  readonly choices: ReadonlyArray<string>
  /** The flag may be given several times: the key takes a list. */
  readonly many: boolean
  /** `false` is said by this flag; undefined where it is what holds anyway. */
  readonly negation: string | undefined
  readonly description: string
}

/** What says how a run is told or which recipe it has is no part of one. */
const NO_KEYS: ReadonlyArray<string> = ["json", "recipe", "init"]

const kinds: Readonly<Record<string, RecipeKey["kind"]>> = {
  Boolean: "boolean",
  Int: "integer",
  Finite: "number",
  Choice: "choice",
  KeyValuePair: "pairs"
}

const keyOf = (key: string, flag: Flag.Flag<unknown>): RecipeKey => {
  let node = flag as Param.AnyFlag | Wrapping | Param.Single<"flag", unknown> // a Param shows its shape by its tag only
  let many = false
  while (!("primitiveType" in node)) {
    if (!("param" in node)) throw new TypeError(`the flag of ${key} is of no kind that a recipe knows: ${node._tag}`)
    many ||= node._tag === "Variadic"
    node = node.param
  }
  const { name, aliases, description, primitiveType, negation } = node
  const kind = kinds[primitiveType._tag] ?? "string"
  return {
    key,
    flag: name,
    aliases,
    kind,
    choices: "choiceKeys" in primitiveType && Array.isArray(primitiveType.choiceKeys) ? primitiveType.choiceKeys : [],
    many: many && kind !== "pairs",
    negation: kind !== "boolean" || negation === false ? undefined : (negation ?? `no-${name}`),
    description: Option.getOrElse(description, () => "")
  }
}
type Wrapping = Param.AnyFlag & { readonly param: Param.AnyFlag }

export const recipeKeys: ReadonlyArray<RecipeKey> = Object.entries<Flag.Flag<unknown>>(trainFlags)
  .filter(([key]) => !NO_KEYS.includes(key))
  .map(([key, flag]) => keyOf(key, flag))
