/** What a run trains: a fresh adapter, one to go on from, or all weights. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Adapter, type BadOptions, type BadStack, Dense, type ModelLoader, type SavedFile } from "@graft/core"
import { describeLlama, FullTraining, type OpenedModel } from "@graft/llama-loader"
import {
  type AdapterError,
  chosenLinears,
  Lora,
  type LoraOptions,
  readAdapter,
  wholeProblem,
  wholeTensors
} from "@graft/lora"
import { withMember } from "@graft/nf4-quant"
import { Context, Effect, Layer } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { InvalidInput } from "../problems.ts"
import { targetsOf } from "./targetsOf.ts"

type AdapterLayer = Layer.Layer<Adapter, BadOptions | BadStack | AdapterError, ModelLoader>

/** Rank and alpha that users of Unsloth know; all linears, as the QLoRA paper found best (arXiv:2305.14314, section 4). */
const defaults = { rank: 16, alpha: 16, targets: "all-linear" } as const

export const adapterLayer = (
  input: TrainInput,
  model: OpenedModel
): Effect.Effect<AdapterLayer, InvalidInput | AdapterError> => {
  if (input.full) return fullLayer(input, model)
  if (input.adapter !== undefined) return startingLayer(input, model, input.adapter)
  const { rank, alpha, target, exclude, loraDropout, rslora, dora, seed } = input
  const modulesToSave = [
    ...(input.modulesToSave === undefined ? [] : namesOf(input.modulesToSave)),
    // A new row learns nothing in a frozen matrix.
    ...(input.addTokens === undefined ? [] : ["embed_tokens", ...(model.config.tieWordEmbeddings ? [] : ["lm_head"])])
  ]
  const fresh = Lora.layer({
    rank: rank ?? defaults.rank,
    alpha: alpha ?? defaults.alpha,
    targets: targetsOf(target ?? defaults.targets),
    ...(exclude === undefined ? {} : { exclude: targetsOf(exclude) }),
    ...(modulesToSave.length === 0 ? {} : { modulesToSave: [...new Set(modulesToSave)] }),
    dropout: loraDropout ?? 0,
    rsLora: rslora,
    dora,
    seed
  })
  return Effect.succeed(withFiles(fresh, model))
}

const namesOf = (names: string): ReadonlyArray<string> => names.split(",").map((name) => name.trim())

/** The adapter's files and the tokenizer's, where that has more tokens than the model's own. */
const withFiles = (layer: AdapterLayer, { tokenizerFiles }: OpenedModel): AdapterLayer =>
  tokenizerFiles === undefined
    ? layer
    : Layer.effect(
        Adapter,
        Effect.map(
          Effect.map(Layer.build(layer), (built) => Context.get(built, Adapter)),
          ({ plan, ...rest }) => ({
            ...rest,
            plan: { ...plan, files: (values, model) => [...plan.files(values, model), ...tokenizerFiles] }
          })
        )
      )

const given = (input: TrainInput): ReadonlyArray<string> => [
  ...(["rank", "alpha", "target", "exclude"] as const).filter((name) => input[name] !== undefined).map((n) => `--${n}`),
  ...(input.modulesToSave === undefined ? [] : ["--modules-to-save"]),
  ...(input.addTokens === undefined ? [] : ["--add-tokens"]),
  ...(input.loraDropout === undefined ? [] : ["--lora-dropout"]),
  ...(["rslora", "dora"] as const).filter((name) => input[name]).map((n) => `--${n}`),
  ...(input.adapter === undefined ? [] : ["--adapter"])
]

/** The saved adapter decides its own shape; a flag that says otherwise is refused rather than ignored. */
const startingLayer = (input: TrainInput, model: OpenedModel, folder: string) =>
  Effect.flatMap(Effect.scoped(readAdapter(folder)), ({ options }) => {
    const problems = contradictions(input, model, options).map(
      ([flag, wanted, has]) => `${flag} asks for ${wanted}, and the adapter has ${has}`
    )
    return problems.length > 0
      ? Effect.fail(
          new InvalidInput({ message: `${folder}: ${problems.join("; ")}. Leave it out to go on from this adapter` })
        )
      : Effect.succeed(
          withFiles(
            Lora.layerFrom(folder, input.loraDropout === undefined ? {} : { dropout: input.loraDropout }),
            model
          )
        )
  })

const contradictions = (
  { rank, alpha, target, exclude, modulesToSave, rslora, dora }: TrainInput,
  model: OpenedModel,
  options: LoraOptions
): ReadonlyArray<readonly [flag: string, wanted: unknown, has: unknown]> => {
  const description = describeLlama(model.config, model.path)
  const linears = (o: LoraOptions) => chosenLinears(description, o).length
  const asked: LoraOptions = {
    ...options,
    ...(target === undefined ? {} : { targets: targetsOf(target) }),
    ...(exclude === undefined ? {} : { exclude: targetsOf(exclude) })
  }
  const has = chosenLinears(description, options)
  const whole = { modulesToSave: modulesToSave === undefined ? [] : namesOf(modulesToSave) }
  const sameWhole =
    wholeProblem(description, whole) === undefined &&
    wholeTensors(description, whole).join() === wholeTensors(description, options).join()
  const same =
    linears(asked) === has.length && chosenLinears(description, asked).every(({ path }, i) => path === has[i]!.path)
  return [
    ...(rank === undefined || rank === options.rank ? [] : [["--rank", rank, options.rank] as const]),
    ...(alpha === undefined || alpha === options.alpha ? [] : [["--alpha", alpha, options.alpha] as const]),
    ...(same ? [] : [["--target", `${linears(asked)} linears`, `others, ${has.length}`] as const]),
    ...(modulesToSave === undefined || sameWhole
      ? []
      : [["--modules-to-save", modulesToSave, options.modulesToSave?.join(",") ?? "none"] as const]),
    ...(rslora && !options.rsLora ? [["--rslora", "the scale alpha / √rank", "alpha / rank"] as const] : []),
    ...(dora && !options.dora ? [["--dora", "DoRA", "no magnitudes"] as const] : [])
  ]
}

/** Files that a model folder needs besides its weights. */
export const BESIDE = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "tokenizer.model",
  "added_tokens.json",
  "chat_template.jinja"
]

const fullLayer = (input: TrainInput, model: OpenedModel): Effect.Effect<AdapterLayer, InvalidInput> => {
  const flags = given(input)
  if (flags.length > 0) {
    const message = `${flags.join(", ")} ${flags.length === 1 ? "is" : "are"} of an adapter, and --full trains all weights without one; leave one or the other out`
    return Effect.fail(new InvalidInput({ message }))
  }
  const config = join(model.path, "config.json")
  if (!existsSync(config)) {
    const message = `--full writes a Hugging Face folder, and ${model.path} has no config.json to write beside the weights; give the model's folder instead of its GGUF`
    return Effect.fail(new InvalidInput({ message }))
  }
  const beside: ReadonlyArray<SavedFile> = BESIDE.filter((name) => existsSync(join(model.path, name))).map((name) => ({
    name,
    bytes: readFileSync(join(model.path, name))
  }))
  const full = FullTraining.layer([{ name: "config.json", bytes: inF32(readFileSync(config, "utf8")) }, ...beside])
  // Flags have no types: full training itself refuses a loader over quantised weights.
  return Effect.succeed(full.pipe(Layer.provide(Dense.layer)))
}

/** The config with the format of the weights as they are saved; transformers 4 calls it torch_dtype, 5 dtype. */
const inF32 = (text: string): Uint8Array => {
  const config = JSON.parse(text) as Record<string, unknown> // has been decoded by openModel
  const key = "torch_dtype" in config ? "torch_dtype" : "dtype"
  return new TextEncoder().encode(withMember(text, key, '"float32"'))
}
