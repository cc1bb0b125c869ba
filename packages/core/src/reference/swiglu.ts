import { gatedKernels } from "./gatedKernels.ts"

/** f(x) = x · σ(x); with s = σ(x), f′(x) = s · (1 + x · (1 − s)) (arXiv:2002.05202). */
export const swigluKernels = gatedKernels("swiglu", (x) => {
  const s = 1 / (1 + Math.exp(-x))
  return [x * s, s * (1 + x * (1 - s))]
})
