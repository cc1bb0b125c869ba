/** A row of data once its columns are understood. */
import type { Message } from "./ChatTemplate.ts"

export type Row =
  | {
      readonly kind: "tokens"
      readonly ids: ReadonlyArray<number>
      readonly labels?: ReadonlyArray<number> | undefined
      /** The token after the last one, which the attention mask hides together with the padding. */
      readonly endHidden?: number | undefined
    }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "completion"; readonly prompt: string; readonly completion: string }
  | {
      readonly kind: "messages"
      readonly messages: ReadonlyArray<Message>
      /** Turns before this one are a prompt and never learnt. */
      readonly answersFrom: number
      readonly tools?: ReadonlyArray<unknown> | undefined
    }
