/**
 * `quantization_config` of config.json as transformers writes it (utils/quantization_config.py, BitsAndBytesConfig). It is put
 * into the text, so that everything else of the file keeps its bytes: a JSON parser would spell numbers anew.
 */
import type { CodebookName } from "./codebooks.ts"

export interface QuantizationConfig {
  readonly codebook: CodebookName
  readonly doubleQuantization: boolean
  /** `float32`, `bfloat16`, `float16`: what bitsandbytes multiplies in. */
  readonly computeDtype: string
  /** What the tensors that are not quantised were rounded to; left out: they are as the config says already. */
  readonly dtype?: string | undefined
  /** Modules that stay as they are, lm_head included; none: those that transformers leaves by itself. */
  readonly skippedModules: ReadonlyArray<string>
}
const KEY = "quantization_config"

const members = ({ codebook, doubleQuantization, computeDtype, skippedModules }: QuantizationConfig) => ({
  _load_in_4bit: true,
  _load_in_8bit: false,
  bnb_4bit_compute_dtype: computeDtype,
  bnb_4bit_quant_storage: "uint8",
  bnb_4bit_quant_type: codebook,
  bnb_4bit_use_double_quant: doubleQuantization,
  llm_int8_enable_fp32_cpu_offload: false,
  llm_int8_has_fp16_weight: false,
  llm_int8_skip_modules: skippedModules.length === 0 ? null : skippedModules,
  llm_int8_threshold: THRESHOLD,
  load_in_4bit: true,
  load_in_8bit: false,
  quant_method: "bitsandbytes"
})
/** Stands for 6.0 until the text is made: JavaScript would write 6. */
const THRESHOLD = "llm_int8_threshold"

/** Where each member of the outermost object begins and ends, and its key. */
const membersOf = (
  text: string
): ReadonlyArray<{ readonly key: string; readonly begin: number; readonly end: number }> => {
  const found: Array<{ key: string; begin: number; end: number }> = []
  let depth = 0
  let begin = -1
  for (let at = 0; at < text.length; at++) {
    const c = text[at]!
    if (c === '"') {
      const from = at
      for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++
      if (depth === 1 && begin < 0) {
        begin = from
        found.push({ key: JSON.parse(text.slice(from, at + 1)), begin: from, end: from })
      }
      if (depth === 1) found.at(-1)!.end = at + 1
    } else if (c === "{" || c === "[") depth++
    else if (c === "}" || c === "]") {
      depth--
      if (depth === 1) found.at(-1)!.end = at + 1
    } else if (c === "," && depth === 1) begin = -1
    else if (depth === 1 && c.trim() !== "" && c !== ":") found.at(-1)!.end = at + 1
  }
  return found
}

/**
 * The JSON object `text` with this member, in the order of its keys where they are sorted; `value` is JSON. The rest keeps its
 * spelling: transformers 5 refuses a soft cap of 30, which must be 30.0.
 */
export const withMember = (text: string, key: string, value: string): string => {
  const present = membersOf(text)
  const member = `${JSON.stringify(key)}: ${value}`
  const old = present.find((one) => one.key === key)
  if (old !== undefined) return text.slice(0, old.begin) + member + text.slice(old.end)
  const before = present.filter((one) => one.key < key).at(-1)
  if (before !== undefined) return `${text.slice(0, before.end)},\n  ${member}${text.slice(before.end)}`
  const [first] = present
  if (first !== undefined) return `${text.slice(0, first.begin)}${member},\n  ${text.slice(first.begin)}`
  return `{\n  ${member}\n}\n`
}

/**
 * The config's text with `quantization_config` among its members, and with the dtype of the weights where that is given.
 * @throws SyntaxError for what is no JSON object, RangeError where there is one already
 */
export const withQuantizationConfig = (text: string, config: QuantizationConfig): string => {
  const parsed: unknown = JSON.parse(text)
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new SyntaxError("is no JSON object")
  if (KEY in parsed) throw new RangeError(`has a ${KEY} already: take the model as it was before`)
  const value = JSON.stringify(members(config), null, 2)
    .replace(`"${THRESHOLD}": "${THRESHOLD}"`, `"${THRESHOLD}": 6.0`)
    .replaceAll("\n", "\n  ")
  const quantized = withMember(text, KEY, value)
  if (config.dtype === undefined) return quantized
  // transformers 4 calls it torch_dtype, 5 dtype.
  return withMember(quantized, "torch_dtype" in parsed ? "torch_dtype" : "dtype", JSON.stringify(config.dtype))
}
