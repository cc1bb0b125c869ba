/**
 * Modules of the base that are trained whole beside the LoRA, and saved with it: PEFT's modules_to_save
 * (peft/utils/other.py, ModulesToSaveWrapper). These are the embedding and the head, f32 [vocabulary, hidden] each. Of a
 * model with tied embeddings they are one matrix, and stay one: PEFT's ensure_weight_tying, whose files hold it under both
 * names.
 */
import type { ModelDescription } from "@graft/core"
import type { LoraOptions } from "./LoraOptions.ts"
import type { SavedAdapter } from "./loraPlan.ts"

interface Modules {
  readonly modulesToSave?: LoraOptions["modulesToSave"] | undefined
}

const EMBEDDING = "model.embed_tokens"
const HEAD = "lm_head"
const WEIGHT = ".weight"
const KNOWN = [EMBEDDING, HEAD]

const named = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`)
const isTied = ({ head }: Pick<ModelDescription, "head">): boolean => head === EMBEDDING

export const isWhole = (path: string, { modulesToSave }: Modules): boolean =>
  KNOWN.includes(path) && (modulesToSave ?? []).some((name) => named(path, name))

/** Paths of the tensors that this model then trains. */
export const wholeTensors = (model: ModelDescription, options: Modules): ReadonlyArray<string> =>
  [...new Set([EMBEDDING, model.head])].filter((path) => isWhole(path, options)).map((path) => `${path}${WEIGHT}`)

/** What of the names cannot be trained whole. */
export const wholeProblem = (model: ModelDescription, { modulesToSave }: Modules): string | undefined => {
  for (const name of modulesToSave ?? []) {
    if (KNOWN.some((path) => named(path, name))) continue
    const linear = model.linears.some(({ path }) => named(path, name))
    return `lora: modules_to_save names ${name}${linear ? ", a linear, which an adapter trains" : ""}; Graft trains embed_tokens and lm_head whole`
  }
  return isTied(model) && isWhole(HEAD, { modulesToSave }) && !isWhole(EMBEDDING, { modulesToSave })
    ? `lora: modules_to_save names lm_head, which in ${model.name} is the embedding itself; name embed_tokens, which trains both as one`
    : undefined
}

/** Of saved values: those of `wholeTensors`, of the model's shape; of tied ones both names, with the same values. */
export const savedWholeProblems = (
  model: ModelDescription,
  options: Modules,
  saved: SavedAdapter
): ReadonlyArray<string> => {
  const hidden = model.linears[0]?.inFeatures ?? 0
  const problems = wholeTensors(model, options).flatMap((path) => {
    const values = saved.get(path)
    if (values === undefined) return [`${path} is missing`]
    return values.size === model.vocabularySize * hidden
      ? []
      : [`${path} has ${values.size} elements, wanted [${model.vocabularySize}, ${hidden}]`]
  })
  if (problems.length > 0 || !isTied(model) || !isWhole(EMBEDDING, options)) return problems
  const [embedding, head] = [saved.get(EMBEDDING + WEIGHT)?.read(), saved.get(HEAD + WEIGHT)?.read()]
  return head?.length === embedding?.length && head?.every((value, i) => value === embedding?.[i])
    ? []
    : [
        `its embedding and head differ, and ${model.name} has one matrix for both (PEFT keeps them one with ensure_weight_tying)`
      ]
}

/** The names that a trained tensor is saved under. */
export const savedNames = (path: string, model: Pick<ModelDescription, "head">): ReadonlyArray<string> =>
  isTied(model) && path === EMBEDDING + WEIGHT ? [path, HEAD + WEIGHT] : [path]

/** Both names of the embedding, as a saved adapter may have them. */
export const isWholeTensor = (path: string): boolean => KNOWN.some((known) => path === `${known}${WEIGHT}`)

/** The keys of adapter_config.json. */
export const wholeConfig = ({ modulesToSave }: Modules, model: Pick<ModelDescription, "head">) =>
  modulesToSave === undefined || modulesToSave.length === 0
    ? { modules_to_save: null, ensure_weight_tying: false }
    : {
        modules_to_save: isTied(model) ? ["embed_tokens"] : modulesToSave,
        ensure_weight_tying: isTied(model)
      }
