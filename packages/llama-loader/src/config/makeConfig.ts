/** Fields from a file → a checked `LlamaConfig`: what the schema cannot say of one field alone is checked here. */
import { Schema } from "effect"
import { ConfigError } from "./ConfigError.ts"
import { LlamaConfig } from "./LlamaConfig.ts"

const decode = Schema.decodeUnknownSync(LlamaConfig, { errors: "all", onExcessProperty: "error" })

/** @throws ConfigError */
export const makeConfig = (path: string, fields: Readonly<Record<string, unknown>>): LlamaConfig => {
  const fail = (what: string): never => {
    throw new ConfigError({ message: `${path} does not describe a model that is known: ${what}`, path })
  }
  let config: LlamaConfig
  try {
    config = decode(fields)
  } catch (cause) {
    return fail(cause instanceof Error ? cause.message : String(cause))
  }
  const { heads, kvHeads, headDim, ropeScaling } = config
  if (heads % kvHeads !== 0) return fail(`${heads} query heads cannot share ${kvHeads} key heads evenly`)
  if (headDim % 2 !== 0) return fail(`rotary embedding turns pairs, and a head has ${headDim} numbers`)
  const divisors =
    ropeScaling.type === "factors"
      ? [ropeScaling.factors]
      : ropeScaling.type === "longrope"
        ? [ropeScaling.shortFactors, ropeScaling.longFactors]
        : []
  for (const { length } of divisors)
    if (length !== headDim / 2)
      return fail(`there are ${length} divisors of frequencies, and a head of ${headDim} has ${headDim / 2}`)
  for (const key of ["rotaryLayers", "slidingLayers"] as const)
    if (config[key] !== undefined && config[key].length !== config.layers)
      return fail(`${key} has ${config[key].length} entries for ${config.layers} layers`)
  if (ropeScaling.type === "llama3" && ropeScaling.highFrequencyFactor <= ropeScaling.lowFrequencyFactor)
    return fail(
      `high_freq_factor ${ropeScaling.highFrequencyFactor} must be above low_freq_factor ${ropeScaling.lowFrequencyFactor}`
    )
  return config
}
