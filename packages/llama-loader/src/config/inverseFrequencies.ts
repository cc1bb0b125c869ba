/**
 * The frequencies of rotary embedding, f_i = theta^(−2i/headDim) (arXiv:2104.09864), and their scalings as transformers
 * computes them, in f32 step by step (modeling_rope_utils.py).
 */
import type { LlamaConfig } from "./LlamaConfig.ts"

const f32 = Math.fround

/** f32 [headDim/2]; `long`: for a context beyond the original one, where that makes a difference. */
export const inverseFrequencies = (
  config: Pick<LlamaConfig, "headDim" | "ropeTheta" | "ropeScaling">,
  long = false
): Float32Array => {
  const { headDim, ropeTheta, ropeScaling } = config
  const out = new Float32Array(headDim / 2)
  for (let i = 0; i < out.length; i++) out[i] = 1 / f32(ropeTheta ** f32((2 * i) / headDim))
  switch (ropeScaling.type) {
    case "none":
      return out
    case "linear":
      return out.map((f) => f / ropeScaling.factor)
    case "factors":
      return out.map((f, i) => f / f32(ropeScaling.factors[i]!))
    case "longrope": {
      const factors = long ? ropeScaling.longFactors : ropeScaling.shortFactors
      return out.map((_, i) => 1 / f32(f32(factors[i]!) * f32(ropeTheta ** f32((2 * i) / headDim))))
    }
    case "llama3":
      return out.map((f) => llama3(f, ropeScaling))
  }
}

/** Wave lengths above `original / low` are divided by the factor, those below `original / high` kept. */
const llama3 = (
  frequency: number,
  scaling: Extract<LlamaConfig["ropeScaling"], { readonly type: "llama3" }>
): number => {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions: original } = scaling
  const wavelength = f32((2 * Math.PI) / frequency)
  if (wavelength < original / high) return frequency
  if (wavelength > original / low) return frequency / factor
  const smooth = f32(f32(f32(original / wavelength) - low) / (high - low))
  return f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency)
}
