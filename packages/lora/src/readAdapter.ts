/** Opens PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, whose tensors are read one by one. */
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { widen } from "@graft/core"
import { openSafetensors } from "@graft/safetensors"
import { Effect, Schema, type Scope } from "effect"
import { type AdapterConfig, AdapterConfigJson, optionsOf, unsupported } from "./adapterConfig.ts"
import type { LoraOptions } from "./LoraOptions.ts"
import type { SavedAdapter, SavedTensor } from "./loraPlan.ts"
import { isWholeTensor } from "./wholeModules.ts"

/** An adapter folder that cannot be used, and why. */
export class AdapterError extends Schema.TaggedError<AdapterError>()("AdapterError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}
export interface AdapterFolder {
  readonly options: LoraOptions
  readonly config: AdapterConfig
  /** Readable while the scope lives that the folder was opened in. */
  readonly values: SavedAdapter
}
const decode = Schema.decodeUnknownEffect(AdapterConfigJson, { errors: "all" })
const WHOLE = /^base_model\.model\.(.+\.weight)$/
/** Copies that PEFT saves besides where the vocabulary was resized, and does not use when it loads. */
const COPY = /^base_model\.model\.(?:model\.embed_tokens|lm_head)\.(?:modules_to_save|original_module)\.weight$/
const KEY = /^base_model\.model\.(.+?)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?$/

export const readAdapter = (folder: string): Effect.Effect<AdapterFolder, AdapterError, Scope.Scope> =>
  Effect.gen(function* () {
    const configPath = join(folder, "adapter_config.json")
    const weightsPath = join(folder, "adapter_model.safetensors")
    const fail = (path: string, problem: string) => new AdapterError({ path, problem })
    const text = yield* Effect.tryPromise({
      try: () => readFile(configPath, "utf8"),
      catch: (e) =>
        fail(
          configPath,
          `${e instanceof Error ? e.message : String(e)}; an adapter is a folder that PEFT or Graft saved`
        )
    })
    const config = yield* Effect.mapError(decode(text), (e) => fail(configPath, e.message))
    const problem = unsupported(config)
    if (problem !== undefined) return yield* fail(configPath, problem)
    const values = new Map<string, SavedTensor>()
    const file = yield* Effect.mapError(openSafetensors(weightsPath), (e) => fail(weightsPath, e.message))
    for (const key of file.names) {
      if (COPY.test(key)) continue
      const found = KEY.exec(key)
      const whole = WHOLE.exec(key)?.[1] ?? ""
      const tensor = yield* Effect.try({
        try: () => file.get(key),
        catch: (e) => fail(weightsPath, e instanceof Error ? e.message : String(e))
      })
      if ((found === null && !isWholeTensor(whole)) || tensor === undefined)
        return yield* fail(weightsPath, `${key} is no tensor of a LoRA adapter`)
      values.set(found === null ? whole : `${found[1]}.${found[2]}`, {
        size: tensor.shape.reduce((a, b) => a * b, 1),
        read: () => widen(tensor.read(), tensor.dtype)
      })
    }
    return { options: optionsOf(config), config, values }
  })
