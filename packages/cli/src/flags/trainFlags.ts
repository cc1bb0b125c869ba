/**
 * What a run is made of; `plan` takes the same. Defaults are those that users of PEFT, TRL and Unsloth know, where these
 * agree: rank and alpha 16 on all linears, 2e-4, clipping at norm 1, one epoch. The rate is constant unless a schedule is named.
 */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { byteSize } from "./byteSize.ts"
import { data, rowFlags } from "./dataFlags.ts"
import { maybe, off } from "./maybe.ts"
import { backendFlags, model, storageFlags } from "./modelFlags.ts"
import { fraction, nonNegative, nonNegativeInt, positive, positiveInt, seed } from "./numbers.ts"
import { optimizerFlags } from "./optimizerFlags.ts"
import { json } from "./outputFlags.ts"

const described =
  (description: string) =>
  <A>(flag: Flag.Flag<A>): Flag.Flag<A> =>
    Flag.withDescription(flag, description)

/** Left out, they have the defaults named here, or those of the adapter that `--adapter` names. */
const adapterFlags = {
  rank: maybe(positiveInt("rank").pipe(Flag.withAlias("r"), described("LoRA rank (default 16)"))),
  alpha: maybe(Flag.Finite("alpha").pipe(described("the adapter's scale is alpha / rank (default 16)"))),
  target: maybe(
    Flag.String("target").pipe(
      Flag.withMetavar("NAMES"),
      described(
        "linears that get an adapter: all-linear, names with commas (q_proj,v_proj), or a regular expression (default all-linear)"
      )
    )
  ),
  exclude: maybe(Flag.String("exclude").pipe(Flag.withMetavar("NAMES"), described("the same, taken away from these"))),
  modulesToSave: maybe(
    Flag.String("modules-to-save").pipe(
      Flag.withMetavar("NAMES"),
      described("modules of the model that are trained whole beside it and saved with it: embed_tokens, lm_head")
    )
  ),
  addTokens: maybe(
    Flag.String("add-tokens").pipe(
      Flag.withMetavar("TOKENS"),
      described(
        "new tokens with commas, or a file with one a line; each gets a row of embedding and head, which are trained whole"
      )
    )
  ),
  loraDropout: maybe(
    fraction("lora-dropout").pipe(described("dropout of the adapter's input in training (default 0)"))
  ),
  rslora: off("rslora", "scale by alpha / √rank (arXiv:2312.03732)"),
  dora: off("dora", "learn magnitude and direction apart (arXiv:2402.09353)"),
  adapter: maybe(
    Flag.String("adapter").pipe(
      Flag.withMetavar("DIR"),
      described("an adapter folder to start from; its rank, alpha and targets hold")
    )
  ),
  full: off("full", "train all weights instead of an adapter; --out becomes a model folder in f32")
}
const lengthFlags = {
  steps: maybe(positiveInt("steps").pipe(described("optimiser steps; wins over --epochs"))),
  epochs: maybe(positive("epochs").pipe(described("passes over the rows, also 0.5 (default 1)"))),
  batchSize: positiveInt("batch-size").pipe(
    Flag.withAlias("b"),
    Flag.withDefault(8),
    described("rows of a micro-batch (default 8)")
  ),
  gradAccumulation: positiveInt("grad-accumulation").pipe(
    Flag.withDefault(1),
    described("micro-batches of a step; the loss is the mean over all of their learnt tokens (default 1)")
  ),
  packing: off("packing", "put short rows together up to --max-length; each row stays a document of its own"),
  groupByLength: off("group-by-length", "rows of like length in one micro-batch; nothing is padded in any case"),
  shuffle: Flag.Boolean("shuffle").pipe(
    Flag.withDefault(true),
    described("--no-shuffle: rows in the data's order, not in a new one for each epoch")
  ),
  seed: seed.pipe(
    Flag.withDefault(0),
    described("of the shuffle, the dropout, the held-out rows and the adapter's first values (default 0)")
  )
}
const rateFlags = {
  learningRate: maybe(
    nonNegative("learning-rate").pipe(Flag.withAlias("lr"), described("peak rate (default 2e-4; 2e-5 with --full)"))
  ),
  schedule: Flag.Literals("schedule", ["constant", "linear", "cosine"]).pipe(
    Flag.withDefault("constant" as const),
    described("of the learning rate after warm-up (default constant)")
  ),
  warmup: nonNegative("warmup").pipe(
    Flag.withDefault(0),
    described("steps of linear rise; below 1: that share of the steps (default 0)")
  ),
  maxGradNorm: nonNegative("max-grad-norm").pipe(
    Flag.withDefault(1),
    described("clip gradients to this global norm; 0: off (default 1)")
  ),
  neftuneAlpha: nonNegative("neftune-alpha").pipe(
    Flag.withDefault(0),
    described("noise on the embeddings while training (arXiv:2310.05914), 5 in the paper; 0: none (default 0)")
  ),
  labelSmoothing: fraction("label-smoothing").pipe(
    Flag.withDefault(0),
    described("share of each target's weight that is spread over the vocabulary while training (default 0)")
  ),
  checkpointing: off(
    "checkpointing",
    "recompute each layer in the backward pass: less memory, about a third more work"
  ),
  memory: maybe(
    byteSize("memory").pipe(
      Flag.withMetavar("SIZE"),
      described(
        "fit the run into so much memory, as 6GiB: what is computed again, rows of a micro-batch, where the optimiser's state and the weights lie; the fastest that fits"
      )
    )
  )
}
const evaluationFlags = {
  evalData: Flag.String("eval-data").pipe(
    Flag.withMetavar("PATH"),
    Flag.atLeast(0),
    described("held-out rows of their own; may be repeated")
  ),
  evalFraction: fraction("eval-fraction").pipe(
    Flag.withDefault(0),
    described("or hold out this share of the rows (default 0)")
  ),
  evalEvery: nonNegativeInt("eval-every").pipe(
    Flag.withDefault(0),
    described("steps between evaluations; 0: before the first and after the last (default 0)")
  ),
  patience: nonNegativeInt("patience").pipe(
    Flag.withDefault(0),
    described("stop early: evaluations without a better held-out loss; 0: go on to the end (default 0)")
  ),
  minDelta: nonNegative("min-delta").pipe(
    Flag.withDefault(0),
    described("a loss is better if it is lower by more than this (default 0)")
  ),
  keepBest: off("keep-best", "keep the adapter of the lowest held-out loss in --out/best"),
  sample: Flag.String("sample").pipe(
    Flag.withMetavar("PROMPT"),
    Flag.atLeast(0),
    described("what the model says to this before, between and after the steps; may be repeated")
  ),
  sampleEvery: nonNegativeInt("sample-every").pipe(
    Flag.withDefault(0),
    described("steps between samples; 0: before the first and after the last (default 0)")
  ),
  sampleTokens: positiveInt("sample-tokens").pipe(
    Flag.withDefault(64),
    described("where a sample ends if the model does not end it (default 64)")
  )
}
const recoveryFlags = {
  lossSpike: nonNegative("loss-spike").pipe(
    Flag.withDefault(0),
    described("a loss above this times the mean of the last 20 is not applied; 0: any is (default 0)")
  ),
  onBadStep: Flag.Literals("on-bad-step", ["stop", "skip"]).pipe(
    Flag.withDefault("stop" as const),
    described("where a loss is a spike or not a number: stop with the rows named, or go on without the step")
  ),
  record: off("record", "keep a hash of each op's output by step in --out/flight.jsonl, for graft diff; slower")
}
/** Put in before the flags are read: recipe/expandRecipe.ts. */
const recipeFlags = {
  recipe: maybe(
    Flag.String("recipe").pipe(
      Flag.withMetavar("FILE"),
      described("these flags in a file, .yaml, .json or a module; also as the first word: graft train recipe.yaml")
    )
  ),
  init: off("init", "write a commented recipe.yaml, with the other flags filled in, instead of running")
}
export const trainFlags = {
  ...recipeFlags,
  model,
  data,
  out: maybe(
    Flag.String("out").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("DIR"),
      described("where the adapter, metrics.jsonl and the state to go on with are kept (default graft-adapter)")
    )
  ),
  ...adapterFlags,
  ...lengthFlags,
  ...rowFlags,
  ...rateFlags,
  ...optimizerFlags,
  ...evaluationFlags,
  ...recoveryFlags,
  sweep: maybe(
    Flag.String("sweep").pipe(
      Flag.withMetavar("NAME=VALUES"),
      described(
        "several adapters in one pass: lr=1e-4,2e-4, rank=8,16, alpha=… or lora-dropout=…; each in a folder of --out"
      )
    )
  ),
  saveEvery: nonNegativeInt("save-every").pipe(
    Flag.withDefault(0),
    described("steps between checkpoints; 0: only at the end (default 0)")
  ),
  profile: off("profile", "a table of where the steps' time goes, and --out/trace.json for ui.perfetto.dev"),
  tensorboard: off("tensorboard", "also write TensorBoard's event files, into --out/tensorboard"),
  resume: off("resume", "go on from the checkpoint in --out; the result is that of a run never stopped"),
  ...storageFlags,
  ...backendFlags,
  json
}
export type TrainInput = Command.Command.Config.Infer<typeof trainFlags>
