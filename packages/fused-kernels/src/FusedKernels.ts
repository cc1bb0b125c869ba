/** Fused pairs as one layer over a backend. Leaving it out leaves the composed ops, with equal results. */
import { Kernels, type Override } from "@graft/core"
import type { Layer } from "effect"
import { fusedAddRmsNorm } from "./fusedAddRmsNorm.ts"
import { fusedLinearCrossEntropy } from "./fusedLinearCrossEntropy.ts"
import { fusedLoraLinear } from "./fusedLoraLinear.ts"
import { fusedLoraMlp } from "./fusedLoraMlp.ts"
import { fusedLoraQkv } from "./fusedLoraQkv.ts"
import { fusedRope } from "./fusedRope.ts"

/** All of them, for who makes a table of overrides without a layer. */
export const fusedPairs: ReadonlyArray<Override> = [
  fusedLoraLinear,
  fusedLoraQkv,
  fusedLoraMlp,
  fusedRope,
  fusedAddRmsNorm,
  fusedLinearCrossEntropy
]

export const FusedKernels = {
  /** The ops that have a fused pair. */
  ops: fusedPairs.map(({ op }) => op),
  layer: Kernels.override("fused-kernels", ...fusedPairs) as Layer.Layer<Kernels, never, Kernels>,
  /** Some of them, by the op's name. */
  layerOf: (ops: ReadonlyArray<string>): Layer.Layer<Kernels, never, Kernels> =>
    Kernels.override(`fused-kernels (${ops.join(", ")})`, ...fusedPairs.filter(({ op }) => ops.includes(op)))
}
