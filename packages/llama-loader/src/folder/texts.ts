/** How a model reads and writes text: the tokenizer and the chat template beside its config, and what follows from them. */
import { join } from "node:path"
import { Effect } from "effect"
import { chatTemplate } from "../chat/ChatTemplate.ts"
import { templateOfFolder } from "../chat/templateOfFolder.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { folderTokenizer } from "../tokenizer/folderTokenizer.ts"
import { modelTokenizer } from "../tokenizer/modelTokenizer.ts"
import type { Tokenizer } from "../tokenizer/Tokenizer.ts"
import { readBytes, readJson, readText } from "./readText.ts"

export interface Texts {
  readonly tokenizer: Tokenizer | undefined
  /** The source of the chat template. */
  readonly template: string | undefined
}

/** Reads the files of a folder; what comes makes them a tokenizer. @throws TokenizerError, ChatTemplateError */
export const readTexts = Effect.fnUntraced(function* (path: string) {
  const at = (name: string): string => join(path, name)
  const tokenizerJson = yield* readJson(at("tokenizer.json"))
  const tokenizerConfig = yield* readJson(at("tokenizer_config.json"))
  const specialTokensMap = yield* readJson(at("special_tokens_map.json"))
  const sentencePiece = tokenizerJson === undefined ? yield* readBytes(at("tokenizer.model")) : undefined
  const addedTokens = sentencePiece === undefined ? undefined : yield* readJson(at("added_tokens.json"))
  const templateFile = yield* readText(at("chat_template.jinja"))
  return (): Texts => {
    const beside = { config: tokenizerConfig, specialTokensMap }
    const tokenizer =
      tokenizerJson !== undefined
        ? folderTokenizer({ path: at("tokenizer.json"), tokenizer: tokenizerJson, ...beside })
        : sentencePiece !== undefined
          ? modelTokenizer({ path: at("tokenizer.model"), model: sentencePiece, addedTokens, ...beside })
          : undefined
    return { tokenizer, template: templateFile ?? templateOfFolder(at("tokenizer_config.json"), tokenizerConfig) }
  }
})

/** What an opened model says of its texts. @throws ChatTemplateError */
export const speech = (path: string, config: LlamaConfig, { tokenizer, template }: Texts) => {
  const textOf = (id: number | undefined): string => {
    for (const [name, special] of tokenizer?.specials ?? []) if (special === id) return name
    return ""
  }
  const tokens = { bosToken: textOf(tokenizer?.bosId), eosToken: textOf(tokenizer?.eosId) }
  const tooMany =
    tokenizer !== undefined && tokenizer.vocabularySize > config.vocabularySize
      ? [
          `its tokenizer knows ${tokenizer.vocabularySize} tokens, its embedding ${config.vocabularySize}: the rest cannot be used`
        ]
      : []
  return {
    tokenizer,
    chatTemplate: template === undefined ? undefined : chatTemplate(path, template, tokens),
    stopIds: [...new Set([...config.eosTokenIds, ...(tokenizer?.stopIds ?? [])])],
    notes: tooMany
  }
}
