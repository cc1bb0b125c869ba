/** `--sweep lr=1e-4,2e-4`: an adapter for each value, each as the flags would make it with that value alone. */
import { Adapter } from "@graft/core"
import type { OpenedModel } from "@graft/llama-loader"
import { readAdapter } from "@graft/lora"
import { Sweep, type Variant } from "@graft/trainer"
import { Context, Effect, Layer } from "effect"
import type { TrainInput } from "../flags/trainFlags.ts"
import { InvalidInput } from "../problems.ts"
import { adapterLayer } from "./adapterLayer.ts"

const keys = {
  lr: "learningRate",
  "learning-rate": "learningRate",
  rank: "rank",
  alpha: "alpha",
  "lora-dropout": "loraDropout"
} as const
type Key = (typeof keys)[keyof typeof keys]

const isName = (name: string): name is keyof typeof keys => Object.hasOwn(keys, name)
const wanted: Readonly<Record<Key, readonly [(n: number) => boolean, string]>> = {
  learningRate: [(n) => n >= 0, "rates of at least 0"],
  rank: [(n) => Number.isSafeInteger(n) && n > 0, "positive integers"],
  alpha: [Number.isFinite, "numbers"],
  loraDropout: [(n) => n >= 0 && n < 1, "numbers from 0 to below 1"]
}

/** @throws InvalidInput */
export const sweepOf = (
  text: string
): { readonly key: Key; readonly values: ReadonlyArray<readonly [name: string, value: number]> } => {
  const refuse = (problem: string) => new InvalidInput({ message: `--sweep ${text}: ${problem}, as in lr=1e-4,2e-4` })
  const [name = "", list = "", ...more] = text.split("=")
  if (!isName(name))
    throw refuse(
      `there is nothing called ${JSON.stringify(name)} to sweep over; wanted one of ${Object.keys(keys).join(", ")}`
    )
  const key = keys[name]
  const [fits, what] = wanted[key]
  const words = list.split(",").map((word) => word.trim())
  const values = words.map((word) => [`${name}=${word}`, word === "" ? Number.NaN : Number(word)] as const)
  const wrong = values.find(([, value]) => !Number.isFinite(value) || !fits(value))
  if (more.length > 0 || wrong !== undefined) throw refuse(`wanted ${what} with commas`)
  if (new Set(values.map(([, value]) => value)).size < 2 || new Set(words).size < words.length)
    throw refuse("wanted at least two values, each once")
  return { key, values }
}

export const sweepLayer = (input: TrainInput, model: OpenedModel) => {
  const { sweep, full } = input
  if (sweep === undefined) return Layer.empty
  return Layer.unwrap(
    Effect.gen(function* () {
      const { key, values } = yield* Effect.try({
        try: () => sweepOf(sweep),
        catch: (e) => (e instanceof InvalidInput ? e : new InvalidInput({ message: String(e) }))
      })
      if (full)
        return yield* new InvalidInput({
          message: "--sweep trains adapters over one frozen base, and --full trains the base; leave one of them out"
        })
      if (input.addTokens !== undefined)
        return yield* new InvalidInput({
          message:
            "--sweep trains adapters over one frozen base, and --add-tokens trains its embedding; leave one of them out"
        })
      const saved = input.adapter === undefined ? undefined : yield* readAdapter(input.adapter)
      const whole = input.modulesToSave ?? saved?.options.modulesToSave?.join(",") ?? ""
      if (whole !== "")
        return yield* new InvalidInput({
          message: `--sweep trains adapters over one frozen base, and ${input.modulesToSave === undefined ? input.adapter : "--modules-to-save"} trains ${whole} of it; leave one of them out`
        })
      const own = values.map(([name, value]) =>
        key === "learningRate"
          ? Effect.succeed({ variant: { name, learningRate: value } as Variant, parts: [] })
          : Effect.gen(function* () {
              const layer = yield* adapterLayer({ ...input, [key]: value }, model)
              const adapter = Context.get(yield* Layer.build(layer), Adapter)
              return { variant: { name, adapter: adapter.plan } as Variant, parts: [adapter] }
            })
      )
      const made = yield* Effect.all(own)
      return Sweep.layer(
        made.map(({ variant }) => variant),
        ...made.flatMap(({ parts }) => parts)
      )
    })
  )
}
