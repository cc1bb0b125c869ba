/**
 * The optimiser of the flags. All of them are paged-optim's: without a budget their state stays in memory, and a checkpoint
 * goes on under another budget.
 */
import { tmpdir } from "node:os"
import { type BadOptions, nearest, type Optimizer } from "@graft/core"
import { PagedAdam, PagedAdamW, PagedLion, PagedSgd, type SpillError } from "@graft/paged-optim"
import { Effect, type Layer } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { InvalidInput } from "../problems.ts"

const families = ["adamw", "adam", "lion", "sgd"] as const
type Family = (typeof families)[number]

export interface NamedOptimizer {
  readonly family: Family
  readonly bits: 8 | 32
  readonly paged: boolean
}
const everyName = ["", "paged-"].flatMap((paged) =>
  families.flatMap((family) => ["", "-8bit", "-32bit"].map((bits) => `${paged}${family}${bits}`))
)
/** Our names, and those that TRL and bitsandbytes have for the same: adamw_torch, adamw_bnb_8bit, paged_adamw_32bit. */
export const optimizerNamed = (name: string): NamedOptimizer | undefined => {
  const plain = name
    .toLowerCase()
    .replaceAll("_", "-")
    .replace(/-(torch(-fused)?|bnb)(?=-|$)/, "")
    .replace(/^(paged)?(adamw|adam|lion|sgd)(8|32)bit$/, "$1-$2-$3bit")
    .replace(/^-/, "")
  const [, paged, family, bits] = /^(paged-)?(adamw|adam|lion|sgd)(?:-(8|32)bit)?$/.exec(plain) ?? []
  if (family === undefined) return undefined
  return { family: family as Family, bits: bits === "8" ? 8 : 32, paged: paged !== undefined } // by the pattern
}

type OptimizerInput = Pick<
  TrainInput,
  | "optimizer"
  | "optimizerMemory"
  | "spillFolder"
  | "weightDecay"
  | "adamBeta1"
  | "adamBeta2"
  | "adamEpsilon"
  | "momentum"
  | "loraPlusRatio"
  | "groupLearningRate"
  | "full"
>
const DEFAULT_BUDGET = 256 * 2 ** 20

/** Flags that say nothing to this optimiser. */
const idleFlags = (input: OptimizerInput, { family }: NamedOptimizer, paged: boolean): ReadonlyArray<string> => {
  const { adamBeta1, adamBeta2, adamEpsilon, momentum, spillFolder } = input
  const idle = (flag: string, value: unknown, used: boolean) => (value !== undefined && !used ? [flag] : [])
  return [
    ...idle("--adam-beta1", adamBeta1, family !== "sgd"),
    ...idle("--adam-beta2", adamBeta2, family !== "sgd"),
    ...idle("--adam-epsilon", adamEpsilon, family.startsWith("adam")),
    ...idle("--momentum", momentum, family === "sgd"),
    ...idle("--spill-folder", spillFolder, paged)
  ]
}

/** The factors by group that the flags ask for, or what is wrong with them. */
const groupFactorsOf = (
  { loraPlusRatio, groupLearningRate = {} }: OptimizerInput,
  learningRate: number
): Readonly<Record<string, number>> | string => {
  const factors: Record<string, number> = loraPlusRatio === undefined ? {} : { lora_B: loraPlusRatio }
  for (const [group, text] of Object.entries(groupLearningRate)) {
    const rate = Number(text)
    if (text.trim() === "" || !Number.isFinite(rate) || rate < 0)
      return `--group-learning-rate ${group}=${text}: a rate is a number of at least 0, as 3e-4`
    if (group in factors)
      return `--lora-plus-ratio and --group-learning-rate ${group} both say how fast ${group} learns: leave one of them out`
    if (learningRate === 0)
      return `--group-learning-rate ${group}=${text} is a share of --learning-rate, which is 0: give that a rate above 0`
    factors[group] = rate / learningRate
  }
  return factors
}

export type SpillInput = Pick<OptimizerInput, "optimizer" | "optimizerMemory" | "spillFolder">

/** The memory that state has and where the rest goes; undefined where all of it stays in memory. */
export const spillOf = ({ optimizer, optimizerMemory, spillFolder }: SpillInput, folder: string) => {
  const residentBytes = optimizerMemory ?? (optimizerNamed(optimizer)?.paged === true ? DEFAULT_BUDGET : undefined)
  return residentBytes === undefined ? undefined : { residentBytes, spillFolder: spillFolder ?? folder }
}

/** `learningRate`: the peak rate that groups are given theirs beside. `folder`: where the state spills unless a flag says otherwise; a plan spills nothing. */
export const optimizerLayer = (
  input: OptimizerInput,
  learningRate: number,
  folder: string = tmpdir()
): Effect.Effect<Layer.Layer<Optimizer, BadOptions | SpillError>, InvalidInput> => {
  const fail = (message: string) => Effect.fail(new InvalidInput({ message }))
  const named = optimizerNamed(input.optimizer)
  if (named === undefined) {
    const meant = nearest(input.optimizer, everyName)
    return fail(
      `--optimizer is "${input.optimizer}"${meant === undefined ? "" : `, did you mean ${meant}?`}; there are ${families.join(", ")}, each with -8bit behind it and paged- before it`
    )
  }
  if (input.full && input.loraPlusRatio !== undefined)
    return fail("--lora-plus-ratio is about an adapter's A and B, and --full trains no adapter: leave one of them out")
  const spill = spillOf(input, folder)
  const idle = idleFlags(input, named, spill !== undefined)
  if (idle.length > 0)
    return fail(
      `${idle.join(", ")} ${idle.length === 1 ? "means" : "mean"} nothing to ${input.optimizer}: leave it out`
    )
  const groupFactors = groupFactorsOf(input, learningRate)
  if (typeof groupFactors === "string") return fail(groupFactors)
  const { weightDecay, adamBeta1, adamBeta2, adamEpsilon, momentum } = input
  const shared = {
    bits: named.bits,
    weightDecay,
    groupFactors,
    ...spill
  }
  const betas = {
    ...(adamBeta1 === undefined ? {} : { beta1: adamBeta1 }),
    ...(adamBeta2 === undefined ? {} : { beta2: adamBeta2 })
  }
  const adam = { ...shared, ...betas, ...(adamEpsilon === undefined ? {} : { epsilon: adamEpsilon }) }
  const layers = {
    adamw: () => PagedAdamW.layer(adam),
    adam: () => PagedAdam.layer(adam),
    lion: () => PagedLion.layer({ ...shared, ...betas }),
    sgd: () => PagedSgd.layer({ ...shared, ...(momentum === undefined ? {} : { momentum }) })
  }
  return Effect.succeed(layers[named.family]())
}
