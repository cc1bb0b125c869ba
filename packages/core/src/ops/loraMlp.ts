import { defineOp } from "../Op.ts"
import type { Graph } from "../Tape.ts"
import type { Tensor } from "../Tensor.ts"
import type { GatedUnit } from "./gatedUnit.ts"
import { type AdaptedWeight, loraLinear } from "./loraLinear.ts"

/** down(unit(gate(x), up(x))), each linear with its adapters or none. */
export const loraMlp = defineOp(
  "loraMlp",
  (g: Graph, x: Tensor, gate: AdaptedWeight, up: AdaptedWeight, down: AdaptedWeight, unit: GatedUnit): Tensor => {
    const of = ({ weight, segments }: AdaptedWeight, t: Tensor) => loraLinear(g, t, weight, segments)
    return of(down, unit(g, of(gate, x), of(up, x)))
  }
)
