/**
 * What a tokenizer.json's `post_processor` puts around a text of its own, for the kinds that Llama-like models have
 * (huggingface/tokenizers, processors/template.rs). ByteLevel's moves offsets only.
 */
import { Schema } from "effect"

const ByteLevel = Schema.Struct({ type: Schema.Literal("ByteLevel") })
const Special = Schema.Struct({ SpecialToken: Schema.Struct({ id: Schema.String }) })
const Text = Schema.Struct({ Sequence: Schema.Struct({ id: Schema.Literal("A") }) })
const Template = Schema.Struct({
  type: Schema.Literal("TemplateProcessing"),
  single: Schema.Array(Schema.Union([Special, Text]))
})
const One = Schema.Union([ByteLevel, Template])
const isOne = Schema.is(One)
const isSequence = Schema.is(Schema.Struct({ type: Schema.Literal("Sequence"), processors: Schema.Array(One) }))

export interface TokensAround {
  readonly before: ReadonlyArray<string>
  readonly after: ReadonlyArray<string>
}
const NOTHING: TokensAround = { before: [], after: [] }

/** `undefined` for what is not known here. */
export const tokensAround = (json: unknown): TokensAround | undefined => {
  const steps = json == null ? [] : isOne(json) ? [json] : isSequence(json) ? json.processors : undefined
  const templates = steps?.filter((step) => step.type === "TemplateProcessing")
  if (templates === undefined || templates.length > 1) return undefined
  const [template] = templates
  if (template === undefined) return NOTHING
  const places = template.single.flatMap((part, i) => ("Sequence" in part ? [i] : []))
  if (places.length !== 1) return undefined
  const names = template.single.map((part) => ("Sequence" in part ? "" : part.SpecialToken.id))
  return { before: names.slice(0, places[0]), after: names.slice(places[0]! + 1) }
}
