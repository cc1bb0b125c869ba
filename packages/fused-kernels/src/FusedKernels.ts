/** Fused pairs as one layer over a backend. Leaving it out leaves the composed ops, with equal results. */
import { Kernels } from "@graft/core"
import type { Layer } from "effect"
import { fusedLoraLinear } from "./fusedLoraLinear.ts"

export const FusedKernels: { readonly layer: Layer.Layer<Kernels, never, Kernels> } = {
  layer: Kernels.override("fused-kernels", fusedLoraLinear)
}
