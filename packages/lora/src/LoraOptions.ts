/** What a LoRA is made of: PEFT's options (peft/tuners/lora/config.py) under the names of the field. */
import { Fraction, PositiveInt, Seed, withDefault } from "@graft/core"
import { Schema } from "effect"

const Targets = Schema.Union([Schema.String, Schema.Array(Schema.NonEmptyString)])

export const LoraOptions = Schema.Struct({
  rank: withDefault(PositiveInt, 8),
  /** The scale is alpha / rank, or alpha / √rank with `rsLora`. */
  alpha: withDefault(Schema.Finite, 8),
  /** Of the adapter's input, in training. */
  dropout: withDefault(Fraction, 0),
  /** arXiv:2312.03732 */
  rsLora: withDefault(Schema.Boolean, false),
  /** Magnitude and direction apart (arXiv:2402.09353). */
  dora: withDefault(Schema.Boolean, false),
  /** Names or suffixes of linears, `"all-linear"`, or another string: a regular expression that the whole path matches. */
  targets: withDefault(Targets, ["q_proj", "v_proj"]),
  /** The same, taken away from the targets. */
  exclude: Schema.optionalKey(Targets),
  /** Another rank for the modules that a name or regular expression matches. */
  rankPattern: withDefault(Schema.Record(Schema.String, PositiveInt), {}),
  alphaPattern: withDefault(Schema.Record(Schema.String, Schema.Finite), {}),
  /** Layers by number; left out: all. */
  layers: Schema.optionalKey(Schema.Array(Schema.Int)),
  /** Modules of the base that are trained whole beside it: `embed_tokens`, `lm_head`. */
  modulesToSave: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /** `kaiming`: A uniform in ±1/√in, B 0. `gaussian`: A normal with deviation 1/rank, B 0. */
  init: withDefault(Schema.Literals(["kaiming", "gaussian"]), "kaiming"),
  /** Of the initial values. */
  seed: withDefault(Seed, 0)
})
export type LoraOptions = typeof LoraOptions.Type
