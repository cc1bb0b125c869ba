/**
 * The large members of a tokenizer.json. They are looked over in plain loops: a schema of their elements would make several
 * objects for each of some hundred thousand, and what a process once had it does not give back whole.
 */
import { Schema } from "effect"

const LARGEST_ID = 2 ** 24

const isTokenIds = (value: unknown): value is Readonly<Record<string, number>> =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every((id) => Number.isInteger(id) && id >= 0 && id <= LARGEST_ID)

const isScoredPieces = (value: unknown): value is ReadonlyArray<readonly [string, number]> =>
  Array.isArray(value) &&
  value.every(
    (pair) => Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "string" && Number.isFinite(pair[1])
  )

const isMerges = (value: unknown): value is ReadonlyArray<string | ReadonlyArray<string>> =>
  Array.isArray(value) &&
  value.every(
    (merge) =>
      typeof merge === "string" || (Array.isArray(merge) && merge.every((part: unknown) => typeof part === "string"))
  )

/** Ids by text. */
export const TokenIds = Schema.declare(isTokenIds, { expected: "a token id for each text" })
/** Unigram's texts and scores by id. */
export const ScoredPieces = Schema.declare(isScoredPieces, { expected: "pairs of a text and its score" })
/** In the order of their ranks, in both spellings. */
export const Merges = Schema.declare(isMerges, { expected: "a list of merges" })
