/**
 * The model with the tokens that `--add-tokens` names, or with those of an adapter that was trained with such. Their files lie
 * beside the adapter, as transformers' tokenizers save theirs.
 */
import { existsSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import {
  type OpenedModel,
  TOKENIZER_FILES,
  TokenizerError,
  type TokenizerTexts,
  withTokenizer,
  withTokens
} from "@graft/llama-loader"
import { fromThrowing, openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"

const EMBEDDING = "base_model.model.model.embed_tokens.weight"

/** A file with one token a line, or names with commas. */
const tokensOf = (text: string): ReadonlyArray<string> =>
  statSync(text, { throwIfNoEntry: false })?.isFile() === true
    ? readFileSync(text, "utf8").split(/\r?\n/).filter(Boolean)
    : text.split(",")

const textsOf = (folder: string): TokenizerTexts =>
  new Map(
    TOKENIZER_FILES.filter((name) => existsSync(join(folder, name))).map((name) => [
      name,
      readFileSync(join(folder, name), "utf8")
    ])
  )
const attempt = <A>(act: () => A): Effect.Effect<A, TokenizerError> =>
  fromThrowing<A, TokenizerError>([TokenizerError], act)

export const withAddedTokens = (
  model: OpenedModel,
  input: { readonly adapter?: string | undefined; readonly addTokens?: string | undefined }
) =>
  Effect.gen(function* () {
    const own = input.adapter === undefined ? model : yield* withTokensOf(model, input.adapter)
    if (input.addTokens === undefined) return own
    const path = join(model.path, "tokenizer.json")
    const refuse = (problem: string) => new InvalidInput({ message: `--add-tokens ${input.addTokens}: ${problem}` })
    if (input.adapter !== undefined)
      return yield* refuse(`an adapter is gone on from with the tokens that it has; leave one of the two flags out`)
    if (!existsSync(path))
      return yield* refuse(
        `${model.path} has no tokenizer.json to add them to; take a Hugging Face folder that has one`
      )
    const tokens = tokensOf(input.addTokens)
    if (tokens.length === 0) return yield* refuse("there is no token in it")
    return yield* attempt(() => withTokenizer(path, model, withTokens(path, textsOf(model.path), tokens)))
  })

/** An adapter's own tokenizer counts where it knows more than the model's, or where its embedding has more rows. */
const withTokensOf = (model: OpenedModel, adapter: string) =>
  Effect.gen(function* () {
    const weights = join(adapter, "adapter_model.safetensors")
    const path = join(adapter, "tokenizer.json")
    if (!existsSync(weights) || !existsSync(path)) return model
    const file = yield* Effect.result(
      Effect.scoped(Effect.map(openSafetensors(weights), (f) => f.tensors.get(EMBEDDING)))
    )
    // What is wrong with the adapter is said where it is read.
    const shape = file._tag === "Success" ? file.success?.shape : undefined
    const rows = shape?.length === 2 && shape[1] === model.config.hiddenSize ? shape[0]! : 0
    if (rows === 0) return model
    const extended = yield* attempt(() => withTokenizer(path, model, textsOf(adapter), rows))
    const more = (extended.tokenizer?.vocabularySize ?? 0) > (model.tokenizer?.vocabularySize ?? 0)
    return more || rows > model.config.vocabularySize ? extended : model
  })
