/**
 * What SentencePiece does to a text before it looks for pieces (google/sentencepiece, src/normalizer.cc): characters by the
 * file's map, extra spaces away, a dummy space, spaces as U+2581. What a user defined as a piece is not mapped.
 */
import type { CharsMap } from "./charsMap.ts"
import type { SentencePieceModel } from "./sentencePieceModel.ts"
import { splitSpecials } from "./splitSpecials.ts"

export const SPACE_SYMBOL = "\u2581"

/** `dummyPrefix`: whether this text is one that gets the dummy space, where the model has it at all. */
export type Normalize = (text: string, dummyPrefix: boolean) => string

export const sentencePieceNormalizer = (
  {
    charsMap,
    addDummyPrefix,
    removeExtraWhitespaces,
    escapeWhitespaces,
    spaceAsSuffix
  }: SentencePieceModel["normalizer"],
  userDefined: ReadonlyMap<string, number>
): Normalize => {
  const split = splitSpecials(userDefined)
  const names = new Map([...userDefined].map(([name, id]) => [id, name]))
  const map = (text: string): string => {
    if (charsMap === undefined) return text
    let mapped = ""
    for (const part of split(text))
      mapped += typeof part === "number" ? names.get(part)! : mapCharacters(charsMap, part)
    return mapped
  }
  const space = escapeWhitespaces ? SPACE_SYMBOL : " "
  return (text, dummyPrefix) => {
    let mapped = map(text)
    if (removeExtraWhitespaces) mapped = mapped.replace(/^ +/, "").replace(/ {2,}/g, " ")
    if (mapped === "") return ""
    const dummy = addDummyPrefix && dummyPrefix
    if (escapeWhitespaces) mapped = mapped.replaceAll(" ", SPACE_SYMBOL)
    if (dummy && !spaceAsSuffix) mapped = space + mapped
    if (removeExtraWhitespaces) mapped = withoutLast(mapped, space)
    return dummy && spaceAsSuffix ? mapped + space : mapped
  }
}

const withoutLast = (text: string, space: string): string => {
  let end = text.length
  while (end > 0 && text[end - 1] === space) end--
  return text.slice(0, end)
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true })

const mapCharacters = (charsMap: CharsMap, text: string): string => {
  const bytes = utf8.encode(text)
  const parts: Array<Uint8Array> = []
  let kept = 0
  for (let at = 0; at < bytes.length; ) {
    const found = charsMap.longest(bytes, at)
    if (found === undefined) {
      at += lengthOf(bytes[at]!)
      continue
    }
    parts.push(bytes.subarray(kept, at), found.text)
    at += found.length
    kept = at
  }
  if (kept === 0) return text
  parts.push(bytes.subarray(kept))
  return parts.map((part) => fromUtf8.decode(part)).join("")
}

/** Bytes of the character that begins with this one. */
const lengthOf = (byte: number): number => (byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4)
