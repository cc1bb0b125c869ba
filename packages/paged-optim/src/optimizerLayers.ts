/**
 * The optimisers as layers of a stack: state in 32 bits or in 8, in memory or paged under a byte budget. A layer that pages
 * owns the files it spills to: they go when the stack does.
 */
import { tmpdir } from "node:os"
import {
  BadOptions,
  decodeOptions,
  Fraction,
  makePart,
  NonNegative,
  NonNegativeInt,
  Optimizer,
  PositiveInt,
  withDefault
} from "@graft/core"
import { Effect, Layer, Schema } from "effect"
import { pageBytesFor, SMALLEST_BUDGET } from "./frames.ts"
import { adamRule, adamWRule, lionRule, sgdRule } from "./optimizers.ts"
import { pagedOptimizer, type StateOptions, type UpdateRule } from "./pagedOptimizer.ts"
import { SpillError } from "./SpillError.ts"
import { SpillFolder } from "./SpillFolder.ts"

const stateFields = {
  /** Of each state of a parameter. 8: block-wise, 256 to a scale (arXiv:2110.02861). */
  bits: withDefault(Schema.Literals([8, 32]), 32),
  /** Tensors with fewer elements keep 32 bits. */
  min8BitSize: withDefault(NonNegativeInt, 4096),
  /** The most memory that state may take; the rest spills. Left out: all of it stays in memory. */
  residentBytes: Schema.optionalKey(PositiveInt),
  /** What moves at once, a multiple of 4096; left out: a sixteenth of the budget, between 16 KiB and 4 MiB. */
  pageBytes: Schema.optionalKey(PositiveInt),
  /** Where the spill file lies; left out: the system's folder for temporary files, which may itself be memory. */
  spillFolder: Schema.optionalKey(Schema.NonEmptyString),
  /** Of the learning rate, by parameter group, e.g. { lora_B: 16 } for LoRA+. */
  groupFactors: withDefault(Schema.Record(Schema.String, NonNegative), {})
}
const AdamFields = Schema.Struct({
  ...stateFields,
  beta1: withDefault(Fraction, 0.9),
  beta2: withDefault(Fraction, 0.999),
  epsilon: withDefault(NonNegative, 1e-8),
  weightDecay: withDefault(NonNegative, 0)
})
const LionFields = Schema.Struct({
  ...stateFields,
  beta1: withDefault(Fraction, 0.9),
  beta2: withDefault(Fraction, 0.99),
  weightDecay: withDefault(NonNegative, 0)
})
const SgdFields = Schema.Struct({
  ...stateFields,
  momentum: withDefault(Fraction, 0.9),
  weightDecay: withDefault(NonNegative, 0)
})

type StateInput = {
  readonly bits: 8 | 32
  readonly min8BitSize: number
  readonly residentBytes?: number
  readonly pageBytes?: number
  readonly spillFolder?: string
}
const MiB = 2 ** 20
const inMebibytes = (bytes: number): string => `${Number((bytes / MiB).toFixed(2))} MiB`

/** What is wrong with the budget, before anything is opened. */
const problemsOf = ({ residentBytes, pageBytes, spillFolder }: StateInput): ReadonlyArray<string> => {
  if (residentBytes === undefined) {
    const idle = [
      ...(pageBytes === undefined ? [] : ["pageBytes"]),
      ...(spillFolder === undefined ? [] : ["spillFolder"])
    ]
    return idle.map((name) => `${name} means nothing without residentBytes: give the budget, or leave it out`)
  }
  const problems: Array<string> = []
  if (residentBytes < SMALLEST_BUDGET)
    problems.push(`residentBytes is ${residentBytes}, the least is ${SMALLEST_BUDGET} (64 KiB)`)
  if (pageBytes !== undefined) {
    if (pageBytes % 4096 !== 0 || pageBytes > 4 * MiB)
      problems.push(`pageBytes is ${pageBytes}, it must be a multiple of 4096 and at most ${4 * MiB}`)
    if (pageBytes > residentBytes)
      problems.push(`residentBytes is ${residentBytes}, smaller than one page of ${pageBytes}`)
  }
  return problems
}

const openState = Effect.fnUntraced(function* (part: string, options: StateInput) {
  const problems = problemsOf(options)
  if (problems.length > 0) return yield* new BadOptions({ part, problems })
  const { bits, min8BitSize, residentBytes, spillFolder = tmpdir() } = options
  if (residentBytes === undefined) return { bits, min8BitSize } satisfies StateOptions
  const spill = yield* Effect.acquireRelease(
    Effect.try({
      try: () => new SpillFolder(spillFolder),
      catch: (e) =>
        e instanceof SpillError ? e : new SpillError({ path: spillFolder, reason: "folder", message: `${e}` })
    }),
    (folder) => Effect.sync(() => folder.close())
  )
  const paging = { residentBytes, pageBytes: options.pageBytes ?? pageBytesFor(residentBytes), spill }
  return { bits, min8BitSize, paging } satisfies StateOptions
})

type OptimizerLayer = Layer.Layer<Optimizer, BadOptions | SpillError>

const layerOf = <O extends StateInput, P>(
  name: string,
  decoded: Effect.Effect<O, BadOptions>,
  ruleOf: (options: O) => UpdateRule<P>
): OptimizerLayer =>
  Layer.effect(
    Optimizer,
    Effect.gen(function* () {
      const options = yield* decoded
      const state = yield* openState(name, options)
      const budget = options.residentBytes === undefined ? "" : `, paged under ${inMebibytes(options.residentBytes)}`
      return {
        part: yield* makePart(`${name} in ${state.bits} bits${budget}`),
        make: pagedOptimizer(ruleOf(options), state),
        rule: `${name} in ${state.bits} bits ${JSON.stringify({ ...options, residentBytes: 0, pageBytes: 0, spillFolder: "" })}`
      }
    })
  )

type AdamInput = typeof AdamFields.Encoded
/** AdamW (arXiv:1711.05101) as torch.optim has it; in 8 bits as bitsandbytes' AdamW8bit on a CPU. */
export const PagedAdamW = {
  layer: (options: AdamInput = {}): OptimizerLayer =>
    layerOf("AdamW", decodeOptions("PagedAdamW", AdamFields)(options), adamWRule)
}
/** Adam (arXiv:1412.6980): weight decay is part of the gradient. */
export const PagedAdam = {
  layer: (options: AdamInput = {}): OptimizerLayer =>
    layerOf("Adam", decodeOptions("PagedAdam", AdamFields)(options), adamRule)
}
/** Lion (arXiv:2302.06675): one state, and steps of one size; a learning rate of a tenth of AdamW's. */
export const PagedLion = {
  layer: (options: typeof LionFields.Encoded = {}): OptimizerLayer =>
    layerOf("Lion", decodeOptions("PagedLion", LionFields)(options), lionRule)
}
/** SGD with momentum as torch.optim has it. */
export const PagedSgd = {
  layer: (options: typeof SgdFields.Encoded = {}): OptimizerLayer =>
    layerOf("SGD", decodeOptions("PagedSgd", SgdFields)(options), sgdRule)
}
