/**
 * Opens a model from a Hugging Face folder or a GGUF: description, tensors under Hugging Face's names, tokenizer and chat
 * template. All is checked against each other here; no weight is read before it is asked for.
 */
import { existsSync, readdirSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import type { SavedFile, TensorFile } from "@graft/core"
import { GgufError, openGguf as openGgufFile } from "@graft/gguf"
import { FileError, fileError, fromThrowing, openSafetensors, openSharded, SafetensorsError } from "@graft/safetensors"
import { Effect, type Scope } from "effect"
import { architectureOf } from "../architectures/known.ts"
import { type ChatTemplate, ChatTemplateError } from "../chat/ChatTemplate.ts"
import { ConfigError, UnknownArchitecture } from "../config/ConfigError.ts"
import { decodeHuggingFace } from "../config/decodeHuggingFace.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { ggufConfig } from "../gguf/ggufConfig.ts"
import { huggingFaceName } from "../gguf/ggufNames.ts"
import { ggufTensors } from "../gguf/ggufTensors.ts"
import { ggufTokenizer } from "../tokenizer/ggufTokenizer.ts"
import { type Tokenizer, TokenizerError } from "../tokenizer/Tokenizer.ts"
import { checkWeights, WeightsMismatch } from "./checkWeights.ts"
import type { PreparedFrom } from "./contentFingerprint.ts"
import { describe } from "./describe.ts"
import { fingerprint } from "./fingerprint.ts"
import { readJson } from "./readText.ts"
import { readTexts, speech, type Texts } from "./texts.ts"

export interface OpenedModel {
  readonly path: string
  /** The Hub's repository that it was fetched from; adapters name it as their base. */
  readonly hub?: { readonly id: string; readonly revision: string | undefined }
  readonly config: LlamaConfig
  /** Under Hugging Face's names, in its row order; readable while the scope lives. */
  readonly tensors: TensorFile
  /** Absent where the folder has none: such a model takes token ids. */
  readonly tokenizer: Tokenizer | undefined
  /** Of a tokenizer with tokens that were added: a trained adapter needs them beside it. */
  readonly tokenizerFiles?: ReadonlyArray<SavedFile>
  readonly chatTemplate: ChatTemplate | undefined
  /** Tokens after which a text is over: the config's and the tokenizer's. */
  readonly stopIds: ReadonlyArray<number>
  /** One line for a person. */
  readonly description: string
  /** Of description and weights, see `fingerprint.ts`. */
  readonly fingerprint: string
  /** Of a model whose weights were made from another's: its content is the other's. */
  readonly preparedFrom?: PreparedFrom
  /** What is odd and not wrong, for a person. */
  readonly notes: ReadonlyArray<string>
}

export type OpenError =
  | FileError
  | SafetensorsError
  | GgufError
  | ConfigError
  | UnknownArchitecture
  | WeightsMismatch
  | TokenizerError
  | ChatTemplateError

const checked = <A>(evaluate: () => A): Effect.Effect<A, OpenError> =>
  fromThrowing<A, OpenError>(
    [
      FileError,
      SafetensorsError,
      GgufError,
      ConfigError,
      UnknownArchitecture,
      WeightsMismatch,
      TokenizerError,
      ChatTemplateError
    ],
    evaluate
  )

export const openModel = (path: string): Effect.Effect<OpenedModel, OpenError, Scope.Scope> =>
  Effect.suspend(() => {
    try {
      return statSync(path).isDirectory() ? openFolder(path) : openGguf(path)
    } catch (cause) {
      return Effect.fail(fileError(path, "open", cause))
    }
  })

const openGguf = (path: string): Effect.Effect<OpenedModel, OpenError, Scope.Scope> =>
  Effect.flatMap(openGgufFile(path), (file) =>
    checked(() => {
      const config = ggufConfig(file)
      const tensors = ggufTensors(file, config)
      checkWeights(path, config, tensors)
      const tokenizer = ggufTokenizer(file)
      const raw = file.metadata.get("tokenizer.chat_template")
      const texts = { tokenizer, template: typeof raw === "string" ? raw : undefined }
      const stored = new Map(
        [...file.tensors.values()].map((tensor) => [huggingFaceName(architectureOf(config), tensor.name), tensor])
      )
      return assemble(path, config, tensors, texts, {
        format: `GGUF v${file.version}, ${formats([...file.tensors.values()].map((tensor) => tensor.type.name))}`,
        sample: (name, count) => {
          const tensor = stored.get(name)!
          return tensor.read(0, Math.min(count, tensor.bytes))
        }
      })
    })
  )

const WEIGHTS = "model.safetensors"
const INDEX = "model.safetensors.index.json"

const openFolder = (path: string): Effect.Effect<OpenedModel, OpenError, Scope.Scope> =>
  Effect.gen(function* () {
    const at = (name: string): string => join(path, name)
    const raw = yield* readJson(at("config.json"))
    if (raw === undefined) return yield* Effect.fail(missing(path, "config.json"))
    const generation = yield* readJson(at("generation_config.json"))
    const config = yield* checked(() => decodeHuggingFace(at("config.json"), raw, generation))
    const weights = existsSync(at(WEIGHTS)) ? WEIGHTS : existsSync(at(INDEX)) ? INDEX : undefined
    if (weights === undefined) return yield* Effect.fail(missing(path, `${WEIGHTS} or ${INDEX}`))
    const file = yield* weights === WEIGHTS ? openSafetensors(at(WEIGHTS)) : openSharded(at(INDEX))
    const textOf = yield* readTexts(path)
    return yield* checked(() => {
      checkWeights(path, config, file)
      return assemble(path, config, file, textOf(), {
        format: `safetensors, ${formats([...file.tensors.values()].map((tensor) => tensor.dtype))}`,
        sample: (name, count) => {
          const tensor = file.tensors.get(name)!
          return tensor.read(0, Math.min(count, tensor.bytes))
        }
      })
    })
  })

interface Rest {
  readonly format: string
  readonly sample: (name: string, count: number) => Uint8Array
}

const assemble = (
  path: string,
  config: LlamaConfig,
  tensors: TensorFile,
  texts: Texts,
  { format, sample }: Rest
): OpenedModel => ({
  path,
  config,
  tensors,
  ...speech(path, config, texts),
  description: `${basename(path)}: ${describe(config)}; ${format}`,
  fingerprint: fingerprint({ config, tensors: tensors.names.map((name) => tensors.get(name)!), sample })
})

/** `F32`, or `Q4_1 and F32`, the commonest first. */
const formats = (names: ReadonlyArray<string>): string => {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name]) => name)
    .join(" and ")
}

const missing = (folder: string, what: string): FileError => {
  const names = readdirSync(folder)
  const gguf = names.find((name) => name.endsWith(".gguf"))
  const pickled = names.find((name) => name.endsWith(".bin") || name.endsWith(".pth"))
  const hint =
    gguf !== undefined
      ? `There is ${gguf}: name that file itself.`
      : pickled !== undefined
        ? `There is ${pickled}, a pickle, which can run code when opened and is not read: take the safetensors version.`
        : "Fetch it."
  return new FileError({
    message: `${folder} has no ${what}, so that it is no model's folder. ${hint}`,
    path: join(folder, what),
    operation: "open",
    code: "ENOENT"
  })
}
