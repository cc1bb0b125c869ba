/** Which linears an adapter goes to, as PEFT matches them (peft/tuners/tuners_utils.py, check_target_module_exists). */
import { type ModelDescription, nearest } from "@graft/core"
import type { LoraOptions } from "./LoraOptions.ts"

type Targets = LoraOptions["targets"]

/** A list: the whole path or its end after a dot. A string: a regular expression that the whole path matches. */
export const matches = (path: string, targets: Targets): boolean => {
  if (typeof targets === "string") return targets === "all-linear" || new RegExp(`^(?:${targets})$`).test(path)
  return targets.some((name) => path === name || path.endsWith(`.${name}`))
}

const layerOf = (path: string): number | undefined => {
  const found = /\.layers\.(\d+)\./.exec(path)
  return found === null ? undefined : Number(found[1])
}

/** The linears that an adapter changes, in the model's order. */
export const chosenLinears = (
  model: ModelDescription,
  { targets, exclude, layers }: LoraOptions
): ModelDescription["linears"] =>
  model.linears.filter(
    ({ path }) =>
      matches(path, targets) &&
      !(exclude !== undefined && matches(path, exclude)) &&
      (layers === undefined || layers.includes(layerOf(path) ?? -1))
  )

/** The value of the first pattern that the end of a path matches (peft get_pattern_key), else the default. */
export const patternValue = (path: string, patterns: Readonly<Record<string, number>>, otherwise: number): number => {
  for (const [pattern, value] of Object.entries(patterns)) {
    if (new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(path)) return value
  }
  return otherwise
}

/** What of the options names nothing in this model, or cannot be read. */
export const targetProblem = (model: ModelDescription, options: LoraOptions): string | undefined => {
  const { targets, exclude, layers, rankPattern, alphaPattern } = options
  const expressions = [targets, exclude ?? []].filter((t) => typeof t === "string")
  for (const expression of [...expressions, ...Object.keys(rankPattern), ...Object.keys(alphaPattern)]) {
    try {
      new RegExp(expression)
    } catch (e) {
      return `lora: "${expression}" is no regular expression (${e instanceof Error ? e.message : String(e)})`
    }
  }
  const names = [...new Set(model.linears.map(({ path }) => path.split(".").at(-1) ?? path))]
  for (const name of typeof targets === "string" ? [] : targets) {
    if (model.linears.some(({ path }) => matches(path, [name]))) continue
    const meant = nearest(name, names)
    return `lora: no linear of ${model.name} is called ${name}${meant === undefined ? "" : `; did you mean ${meant}?`} There are ${names.join(", ")}; "all-linear" takes all of them`
  }
  if (chosenLinears(model, options).length > 0) return undefined
  const wanted = [
    `targets ${JSON.stringify(targets)}`,
    exclude === undefined ? "" : `without ${JSON.stringify(exclude)}`,
    layers === undefined ? "" : `in layers ${layers.join(", ")}`
  ]
  return `lora: ${wanted.filter((w) => w !== "").join(" ")} match no linear of ${model.name}; there are ${names.join(", ")} in ${model.layers.length} layers`
}
