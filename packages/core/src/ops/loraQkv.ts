import { defineOp } from "../Op.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import { type AdaptedWeight, loraLinear } from "./loraLinear.ts"

/** Queries, keys and values of one x, each with its adapters or none. Biases lie outside. */
export const loraQkv = defineOp(
  "loraQkv",
  (g: Graph, x: Tensor, q: AdaptedWeight, k: AdaptedWeight, v: AdaptedWeight): readonly [Tensor, Tensor, Tensor] => {
    const of = ({ weight, segments }: AdaptedWeight) => loraLinear(g, x, weight, segments)
    return [of(q), of(k), of(v)]
  }
)
