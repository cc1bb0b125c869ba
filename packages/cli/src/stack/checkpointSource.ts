/** A model as what `quantizeCheckpoint` writes anew: which linears, what stays, the config, the files beside. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { ConfigError, describeLlama, encodeHuggingFace, expectedTensors, type OpenedModel } from "@graft/llama-loader"
import { type CheckpointSource, torchNames } from "@graft/nf4-quant"
import { fileError, fromThrowing } from "@graft/safetensors"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { BESIDE } from "./adapterLayer.ts"
import { isNamed } from "./weightStorage.ts"

export const checkpointSource = (
  model: OpenedModel,
  skip: ReadonlyArray<string>
): Effect.Effect<CheckpointSource, InvalidInput | ConfigError> =>
  Effect.gen(function* () {
    const { config, path, tensors } = model
    if (config.quantization !== undefined) {
      const message = `${path} is quantised already (${config.quantization.codec}); take the model as it was before`
      return yield* new InvalidInput({ message })
    }
    const linears = describeLlama(config, path)
      .linears.map((linear) => linear.path)
      .filter((linear) => !skip.some((name) => isNamed(linear, name)))
    if (linears.length === 0)
      return yield* new InvalidInput({
        message: `--skip leaves no linear of ${path} to quantise; leave some names out`
      })
    const weights = new Set(linears.map((linear) => `${linear}.weight`))
    return {
      tensors,
      linears,
      kept: [...expectedTensors(config)].map(({ name }) => name).filter((name) => !weights.has(name)),
      config: yield* configText(model),
      // transformers leaves the head by itself only where nothing else is named.
      skippedModules: skip.length === 0 ? [] : ["lm_head", ...skip],
      files: BESIDE.map((name) => ({ name, path: join(path, name) })).filter((file) => existsSync(file.path)),
      fingerprint: model.fingerprint
    }
  })

const configText = ({ path, config, tensors }: OpenedModel) => {
  const file = join(path, "config.json")
  if (existsSync(file))
    return Effect.try({ try: () => readFileSync(file, "utf8"), catch: (cause) => fileError(file, "read", cause) }).pipe(
      Effect.mapError(({ message }) => new InvalidInput({ message }))
    )
  const dtype = torchNames[tensors.get("model.embed_tokens.weight")?.dtype ?? "f32"]
  return fromThrowing<string, ConfigError>([ConfigError], () =>
    encodeHuggingFace(path, config, dtype === "bfloat16" || dtype === "float16" ? dtype : "float32")
  )
}
