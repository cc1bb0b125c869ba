/**
 * A conversation and what turns it into text. The same template serves training and generation; this package needs only
 * its shape.
 */
export interface Message {
  readonly role: string
  readonly content: string
  /** Whatever else the template may read: `tool_calls`, `name`, `reasoning_content`, … */
  readonly [key: string]: unknown
}

export interface RenderOptions {
  /** Ends the text where the assistant's answer is to begin. */
  readonly addGenerationPrompt: boolean
  readonly tools?: ReadonlyArray<unknown> | undefined
}

/** A stretch of rendered text, and whether its tokens are to be learnt. */
export interface Piece {
  readonly text: string
  readonly supervised: boolean
}

export interface ChatTemplate {
  /** The Jinja that it is of, to be kept beside what is trained by it. */
  readonly source?: string | undefined
  readonly render: (messages: ReadonlyArray<Message>, options: RenderOptions) => string
  /**
   * Where the template itself marks what the assistant says (`{% generation %}`): the whole conversation cut at the
   * marks. Absent: the answers are found by comparing renderings, see `supervisedPieces`.
   */
  readonly pieces?: ((messages: ReadonlyArray<Message>, options: RenderOptions) => ReadonlyArray<Piece>) | undefined
}
