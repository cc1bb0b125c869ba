/** Fused pairs, in Unsloth's sense, for ops that core composes. */
export * from "./FusedKernels.ts"
export * from "./fusedAddRmsNorm.ts"
export * from "./fusedLinearCrossEntropy.ts"
export * from "./fusedLoraLinear.ts"
export * from "./fusedLoraMlp.ts"
export * from "./fusedLoraQkv.ts"
export * from "./fusedRope.ts"
