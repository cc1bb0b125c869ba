/** What preparing data needs to know of the model. */
import type { ChatTemplate } from "./ChatTemplate.ts"
import type { TextAgain } from "./encodingPool.ts"
import type { Tokenizer } from "./Tokenizer.ts"

export interface DataModel {
  /** Absent: only rows that are tokenised already will do. */
  readonly tokenizer?: Tokenizer | undefined
  /** Absent: conversations are refused. */
  readonly chatTemplate?: ChatTemplate | undefined
  readonly vocabularySize: number
  /** The longest sequence the model takes, in tokens. */
  readonly positions: number
  /** The tokens that end generation; the tokenizer's EOS alone unless given. */
  readonly stopIds?: ReadonlyArray<number> | undefined
  /** Rows are then tokenised by several threads, where there are many of them. */
  readonly again?: TextAgain | undefined
}

export const stopIdsOf = (model: DataModel): ReadonlyArray<number> =>
  model.stopIds ?? (model.tokenizer?.eosId === undefined ? [] : [model.tokenizer.eosId])
