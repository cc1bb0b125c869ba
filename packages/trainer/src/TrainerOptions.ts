/** What a trainer is told, decoded once. */
import { decodeOptions, NonNegative, NonNegativeInt, PositiveInt, Seed, withDefault } from "@graft/core"
import { Schema } from "effect"

export const TrainerOptions = Schema.Struct({
  steps: PositiveInt,
  learningRate: withDefault(NonNegative, 2e-4),
  schedule: withDefault(Schema.Literals(["constant", "linear", "cosine"]), "constant"),
  /** Below 1: a share of the steps; else a number of steps. */
  warmup: withDefault(NonNegative, 0),
  /** Of the global norm; 0 does not clip. */
  maxGradNorm: withDefault(NonNegative, 1),
  seed: withDefault(Seed, 0),
  /** Recompute layers in backward instead of keeping their activations: all, or so many from the first on. */
  checkpointing: withDefault(Schema.Union([Schema.Boolean, NonNegativeInt]), false),
  /** Layers, from the first on, whose attention is computed again, be the rest of them or not; left out: as many. */
  attentionAgain: Schema.optionalKey(NonNegativeInt),
  /** The dtype of activations and of the multiply; left out: bf16 where the backend multiplies it. */
  compute: Schema.optionalKey(Schema.Literals(["f32", "bf16"])),
  /** NEFTune's alpha (arXiv:2310.05914), 5 in the paper; 0 adds no noise. */
  neftuneAlpha: withDefault(NonNegative, 0),
  /** The share of each target's weight that is spread over the vocabulary, as torch's label_smoothing; held-out losses are without. */
  labelSmoothing: withDefault(
    Schema.Finite.check(
      Schema.isBetween({ minimum: 0, maximum: 0.999 }, { message: "expected label smoothing from 0 to 0.999" })
    ),
    0
  ),
  /** Steps between evaluations; 0: only before the first and after the last. */
  evalEvery: withDefault(NonNegativeInt, 0),
  /** Evaluations without a better loss after which the run ends; 0: it goes on. */
  patience: withDefault(NonNegativeInt, 0),
  /** A loss is better if it is lower by more than this. */
  minDelta: withDefault(NonNegative, 0),
  /** Keep the adapter of the lowest held-out loss beside the last one. */
  keepBest: withDefault(Schema.Boolean, false),
  /** A loss above this times the mean of the last 20 is a spike, which is not applied; 0: no loss is. */
  spikeFactor: withDefault(NonNegative, 0),
  /** What becomes of a step that is a spike or not finite: the run ends, or goes on without it. */
  badSteps: withDefault(Schema.Literals(["stop", "skip"]), "stop"),
  /** Steps between checkpoints; 0: only at the end. */
  saveEvery: withDefault(NonNegativeInt, 0),
  /** Go on from the checkpoint in the store, if there is one. */
  resume: withDefault(Schema.Boolean, false),
  /** Tell the flight recorder's record of each step; the backend must keep one. */
  record: withDefault(Schema.Boolean, false)
})
export type TrainerOptions = typeof TrainerOptions.Type
export const decodeTrainerOptions = decodeOptions("Trainer", TrainerOptions)

/**
 * Those that decide what is computed: a run goes on only with the same. What becomes of bad steps is not among them, so that
 * a run that one of them ended may go on without it.
 */
export const decidingOptions = (options: TrainerOptions): Readonly<Record<string, unknown>> => {
  const { resume, record, saveEvery, keepBest, evalEvery, patience, badSteps, spikeFactor, ...deciding } = options
  return patience > 0 ? { ...deciding, patience, evalEvery } : deciding
}
