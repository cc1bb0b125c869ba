/** Fused pairs, in Unsloth's sense, for ops that core composes. */
export * from "./FusedKernels.ts"
export * from "./fusedLoraLinear.ts"
export * from "./fusedRope.ts"
