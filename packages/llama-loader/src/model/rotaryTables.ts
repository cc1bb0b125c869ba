/** Frequencies of rotary embedding on the device, and from them a table for a batch and each kind of layer. */
import { type Graph, type Queue, ropeTable, type Scope, type Tensor } from "@graft/core"
import { inverseFrequencies } from "../config/inverseFrequencies.ts"
import type { LlamaConfig } from "../config/LlamaConfig.ts"

export interface RotaryTables {
  readonly full: Tensor
  /** Of sliding layers, where they have a theta of their own. */
  readonly sliding: Tensor
}
/** `context`: tokens that positions may reach, which chooses between the two sets of divisors of `longrope`. */
export type MakeRotaryTables = (g: Graph, rowKeys: Tensor, context: number) => RotaryTables

export const rotaryTables = (config: LlamaConfig, queue: Queue, scope: Scope): MakeRotaryTables => {
  const { ropeScaling: scaling, localRopeTheta } = config
  const upload = (name: string, frequencies: Float32Array): Tensor => {
    const t = scope.tensor([frequencies.length], name)
    queue.upload(t, () => frequencies)
    return t
  }
  const usual = upload("inverse frequencies", inverseFrequencies(config))
  const long =
    scaling.type === "longrope" ? upload("inverse frequencies, long", inverseFrequencies(config, true)) : usual
  const local =
    localRopeTheta === undefined
      ? undefined
      : upload(
          "inverse frequencies, local",
          inverseFrequencies({ ...config, ropeTheta: localRopeTheta, ropeScaling: { type: "none" } })
        )
  const factor = scaling.type === "longrope" ? scaling.attentionFactor : 1
  const original = scaling.type === "longrope" ? scaling.originalMaxPositions : 0
  return (g, rowKeys, context) => {
    const full = ropeTable(g, rowKeys, context > original ? long : usual, factor)
    return { full, sliding: local === undefined ? full : ropeTable(g, rowKeys, local, 1) }
  }
}
