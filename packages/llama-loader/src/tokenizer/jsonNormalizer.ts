/** A tokenizer.json's `normalizer`, for the kinds that Llama-like models have (huggingface/tokenizers, normalizers/). */
import { Schema } from "effect"

const Form = Schema.Struct({ type: Schema.Literals(["NFC", "NFD", "NFKC", "NFKD"]) })
const Prepend = Schema.Struct({ type: Schema.Literal("Prepend"), prepend: Schema.String })
const Replace = Schema.Struct({
  type: Schema.Literal("Replace"),
  pattern: Schema.Struct({ String: Schema.NonEmptyString }),
  content: Schema.String
})
const One = Schema.Union([Form, Prepend, Replace])
const isOne = Schema.is(One)
const isSequence = Schema.is(Schema.Struct({ type: Schema.Literal("Sequence"), normalizers: Schema.Array(One) }))

export type NormalizeText = (text: string) => string

/** `undefined` for a kind that is not known here. */
export const jsonNormalizer = (json: unknown): NormalizeText | undefined => {
  const steps = json == null ? [] : isOne(json) ? [json] : isSequence(json) ? json.normalizers : undefined
  const acts = steps?.map(stepOf)
  return acts && ((text) => acts.reduce((done, act) => act(done), text))
}

const stepOf = (step: typeof One.Type): NormalizeText => {
  if (step.type === "Prepend") return (text) => (text === "" ? "" : step.prepend + text)
  if (step.type === "Replace") return (text) => text.replaceAll(step.pattern.String, () => step.content)
  return (text) => text.normalize(step.type)
}
