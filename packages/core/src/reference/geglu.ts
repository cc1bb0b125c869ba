import { gatedKernels } from "./gatedKernels.ts"

const SLOPE = 2 * Math.sqrt(2 / Math.PI)
const CUBE = 0.044715

/**
 * f(x) = gelu(x) ≈ ½ x (1 + tanh u) with u = √(2/π) · (x + 0.044715 x³), as Gemma has it (gelu_pytorch_tanh; arXiv:1606.08415).
 * With s = σ(2u), which is ½ (1 + tanh u) without the cancellation at large negative x:  f = x · s,
 * f′ = s + x · s · (1 − s) · 2u′,  u′ = √(2/π) · (1 + 3 · 0.044715 x²)
 */
export const gegluKernels = gatedKernels("geglu", (x) => {
  const s = 1 / (1 + Math.exp(-SLOPE * (x + CUBE * x ** 3)))
  return [x * s, s + x * s * (1 - s) * SLOPE * (1 + 3 * CUBE * x ** 2)]
})
