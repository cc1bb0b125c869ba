/** A model of which only the config is there, or all but the weights: what a plan needs, since a plan reads no weight. */
import { createHash } from "node:crypto"
import { basename, join } from "node:path"
import type { DType, SourceTensor } from "@graft/core"
import { fromThrowing } from "@graft/safetensors"
import { Effect } from "effect"
import { ChatTemplateError } from "../chat/ChatTemplate.ts"
import { ConfigError, UnknownArchitecture } from "../config/ConfigError.ts"
import { decodeHuggingFace } from "../config/decodeHuggingFace.ts"
import { TokenizerError } from "../tokenizer/Tokenizer.ts"
import { describe } from "./describe.ts"
import { expectedTensors } from "./expectedTensors.ts"
import type { OpenError, OpenedModel } from "./openModel.ts"
import { readJson } from "./readText.ts"
import { readTexts, speech, type Texts } from "./texts.ts"

const dtypes: Readonly<Record<string, DType>> = { float32: "f32", float16: "f16", bfloat16: "bf16" }

/**
 * `raw` is config.json's content, `path` names it. The weights have the config's dtype, bf16 where it says none.
 * @throws ConfigError; with `texts` ChatTemplateError
 */
export const openShapes = (
  path: string,
  raw: unknown,
  texts: Texts = { tokenizer: undefined, template: undefined }
): OpenedModel => {
  const config = decodeHuggingFace(path, raw)
  const said = typeof raw === "object" && raw !== null && "torch_dtype" in raw ? String(raw.torch_dtype) : ""
  const dtype = dtypes[said] ?? "bf16"
  const tensors = new Map(
    [...expectedTensors(config)].map(({ name, shape }): [string, SourceTensor] => [
      name,
      { name, shape, dtype, read: () => unread(path, name) }
    ])
  )
  return {
    path,
    config,
    tensors: { names: [...tensors.keys()], get: (name) => tensors.get(name) },
    ...speech(path, config, texts),
    description: `${basename(path)}: ${describe(config)}; shapes alone, ${dtype}`,
    fingerprint: createHash("sha256").update(JSON.stringify(config)).digest("hex").slice(0, 32)
  }
}

/** A folder that has all of a model but its weights. Fails as openModel does. */
export const openFolderShapes = (path: string): Effect.Effect<OpenedModel, OpenError> =>
  Effect.gen(function* () {
    const raw = yield* readJson(join(path, "config.json"))
    const textsOf = yield* readTexts(path)
    return yield* fromThrowing<OpenedModel, OpenError>(
      [ConfigError, UnknownArchitecture, TokenizerError, ChatTemplateError],
      () => openShapes(path, raw, textsOf())
    )
  })

const unread = (path: string, name: string): never => {
  throw new ReferenceError(`${path} has no weights: ${name} cannot be read, only planned`)
}
