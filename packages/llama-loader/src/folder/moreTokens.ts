/**
 * A model with tokens that its tokenizer has not: entries of tokenizer.json's `added_tokens`, and rows of embedding and head
 * for them, each the mean of the old rows (what transformers' resize_token_embeddings draws around with mean_resizing). Rows
 * that a vocabulary has to spare are used first. The new tokens are plain ones, matched in a text as they stand.
 */
import { basename } from "node:path"
import { type SavedFile, type SourceTensor, sourceOf, type TensorFile, widen } from "@graft/core"
import { LlamaConfig } from "../config/LlamaConfig.ts"
import { folderTokenizer } from "../tokenizer/folderTokenizer.ts"
import { type Tokenizer, TokenizerError } from "../tokenizer/Tokenizer.ts"
import { describe } from "./describe.ts"
import type { OpenedModel } from "./openModel.ts"

/** The tokenizer's files of a folder as text, by name; tokenizer.json is among them. */
export type TokenizerTexts = ReadonlyMap<string, string>
export const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]

const parsed = (path: string, text: string | undefined): unknown => {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch (cause) {
    const message = `${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`
    throw new TokenizerError({ message, path })
  }
}
const tokenizerOf = (path: string, texts: TokenizerTexts): Tokenizer =>
  folderTokenizer({
    path,
    tokenizer: parsed(path, texts.get("tokenizer.json")),
    config: parsed(path, texts.get("tokenizer_config.json")),
    specialTokensMap: parsed(path, texts.get("special_tokens_map.json"))
  })

/**
 * The files with `tokens` added, at the ids after the last.
 * @throws TokenizerError
 */
export const withTokens = (path: string, texts: TokenizerTexts, tokens: ReadonlyArray<string>): TokenizerTexts => {
  const fail = (message: string): never => {
    throw new TokenizerError({ message, path })
  }
  const before = tokenizerOf(path, texts)
  const json = parsed(path, texts.get("tokenizer.json")) as {
    readonly model: { readonly vocab: Readonly<Record<string, number>> | ReadonlyArray<readonly [string, number]> }
    readonly added_tokens?: ReadonlyArray<{ readonly content: string }> | null
  } // `before` has decoded it
  const { vocab } = json.model
  const known = new Set(Array.isArray(vocab) ? vocab.map(([piece]) => String(piece)) : Object.keys(vocab))
  for (const { content } of json.added_tokens ?? []) known.add(content)
  for (const token of tokens) {
    if (token === "") fail("a new token has no text; name each of them")
    if (known.has(token)) fail(`${path} has the token ${JSON.stringify(token)} already; leave it out`)
    known.add(token)
  }
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false }
  const added = tokens.map((content, i) => ({ id: before.vocabularySize + i, content, ...plain }))
  const now = new Map(texts)
  const whole = { ...json, added_tokens: [...(json.added_tokens ?? []), ...added] }
  now.set("tokenizer.json", `${JSON.stringify(whole, null, 2)}\n`)
  const after = tokenizerOf(path, now)
  for (const { id, content } of added) {
    const [first, ...more] = after.encode(content, { addSpecial: false })
    if (first !== id || more.length > 0) fail(`${path}: ${JSON.stringify(content)} does not become one token`)
  }
  return now
}

/** `source` with rows appended, f32. */
const longer = (source: SourceTensor, rows: number): SourceTensor => {
  const [old = 0, columns = 0] = source.shape
  return sourceOf(source.name, [rows, columns], () => {
    const values = widen(source.read(), source.dtype)
    const mean = new Float64Array(columns)
    for (let i = 0; i < values.length; i++) mean[i % columns]! += values[i]! / old
    const all = new Float32Array(rows * columns)
    all.set(values)
    for (let row = old; row < rows; row++) all.set(mean, row * columns)
    return all
  })
}
const resized = (tensors: TensorFile, rows: number): TensorFile => {
  const names = ["model.embed_tokens.weight", "lm_head.weight"]
  return {
    names: tensors.names,
    get: (name) => {
      const source = tensors.get(name)
      return source === undefined || !names.includes(name) ? source : longer(source, rows)
    }
  }
}

/**
 * The model with another tokenizer, and rows for it; `rows`: at least so many.
 * @throws TokenizerError
 */
export const withTokenizer = (path: string, model: OpenedModel, texts: TokenizerTexts, rows = 0): OpenedModel => {
  const tokenizer = tokenizerOf(path, texts)
  const vocabularySize = Math.max(rows, model.config.vocabularySize, tokenizer.vocabularySize)
  const config = new LlamaConfig({ ...model.config, vocabularySize })
  const tokenizerFiles: ReadonlyArray<SavedFile> = [...texts].map(([name, text]) => ({
    name,
    bytes: new TextEncoder().encode(text)
  }))
  const grows = vocabularySize > model.config.vocabularySize
  return {
    ...model,
    config,
    tokenizer,
    tensors: grows ? resized(model.tensors, vocabularySize) : model.tensors,
    description: model.description.replace(describe(model.config), describe(config)),
    stopIds: [...new Set([...model.stopIds, ...tokenizer.stopIds])],
    tokenizerFiles,
    notes: [
      ...model.notes,
      `${tokenizer.vocabularySize - (model.tokenizer?.vocabularySize ?? 0)} tokens more than ${basename(model.path)}'s own`
    ]
  }
}
