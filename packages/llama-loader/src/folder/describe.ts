/** A model in a line, for people. */
import { architectureOf } from "../architectures/known.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"
import { expectedTensors } from "./expectedTensors.ts"

export const parameterCount = (config: LlamaConfig): number => {
  let count = 0
  for (const { shape } of expectedTensors(config)) count += shape.reduce((product, size) => product * size, 1)
  return count
}

const rounded = (count: number): string =>
  count >= 1e9
    ? `${(count / 1e9).toFixed(2)} G`
    : count >= 1e6
      ? `${(count / 1e6).toFixed(1)} M`
      : `${(count / 1e3).toFixed(0)} k`

export const describe = (config: LlamaConfig): string => {
  const { layers, hiddenSize, heads, kvHeads, headDim, vocabularySize, maxPositions } = config
  return (
    `${architectureOf(config).label}, ${rounded(parameterCount(config))} parameters, ${layers} layers, hidden ${hiddenSize}, ` +
    `${heads} heads of ${headDim} over ${kvHeads} key heads, vocabulary ${vocabularySize}, ${maxPositions} positions`
  )
}
