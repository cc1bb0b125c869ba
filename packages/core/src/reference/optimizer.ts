import type { Kernel } from "../Queue.ts"

/** Elements whose sum is one partial: a reduction by size, never by threads. */
const BLOCK = 4096
/** partials[slot] = Σ x² */
export const sumSquares: Kernel<{ readonly slot: number }> = {
  name: "sumSquares",
  outputs: 1,
  inPlace: [0],
  fields: ["slot"],
  dtypes: ["f32", "f32"],
  check: ([partials], { slot }) => slot >= partials!.size && `slot ${slot}`,
  reference: ([partials, x], { slot }) => {
    let sum = 0
    for (let b = 0; b < x!.length; b += BLOCK) {
      let part = 0
      for (let i = b; i < Math.min(x!.length, b + BLOCK); i++) part += x![i]! ** 2
      sum += part
    }
    partials![slot] = sum
  }
}
/**
 * control [4] = (clip coefficient / tokens, finite, steps applied, norm of the mean gradient). Gradients are sums over
 * `tokens`; maxNorm 0 does not clip. A step that is not finite changes nothing and does not count.
 */
export const clipControl: Kernel<{ readonly maxNorm: number }> = {
  name: "clipControl",
  outputs: 1,
  inPlace: [0],
  fields: ["maxNorm"],
  dtypes: ["f32", "f32", "f32"],
  reference: ([control, partials, tokens], { maxNorm }) => {
    let sum = 0
    for (let i = 0; i < partials!.length; i++) sum += partials![i]!
    const norm = Math.sqrt(sum) / tokens![0]!
    const finite = Number.isFinite(norm) && tokens![0]! > 0
    const clip = maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1
    control![0] = finite ? clip / tokens![0]! : 0
    control![1] = finite ? 1 : 0
    control![2] = control![2]! + (finite ? 1 : 0)
    control![3] = norm
  }
}
interface Adam {
  readonly learningRate: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
}
const f = Math.fround
/**
 * AdamW (arXiv:1711.05101) in the order of torch.optim.AdamW(foreach=False), rounded to f32 where it rounds: the product in a
 * lerp and the last one of an addcmul are not, on x86. A product of two f32 is exact in f64.
 */
export const adamWKernel: Kernel<Adam> = {
  name: "adamW",
  outputs: 3,
  inPlace: [0, 1, 2],
  fields: ["learningRate", "beta1", "beta2", "epsilon", "weightDecay"],
  dtypes: ["f32", "f32", "f32", "f32", "f32"],
  check: ([w, m, v, g]) => (w!.size !== m!.size || w!.size !== v!.size || w!.size !== g!.size) && "sizes differ",
  reference: ([w, m, v, g, control], p) => {
    const coefficient = control![0]!
    const step = control![2]!
    if (control![1] === 0) return
    const decay = f(1 - p.learningRate * p.weightDecay)
    const stepSize = f(-p.learningRate / (1 - p.beta1 ** step))
    const root = f(Math.sqrt(1 - p.beta2 ** step))
    const epsilon = f(p.epsilon)
    for (let i = 0; i < w!.length; i++) {
      const d = f(g![i]! * coefficient)
      m![i] = f(1 - p.beta1) * f(d - m![i]!) + m![i]!
      v![i] = f(f(1 - p.beta2) * d) * d + f(v![i]! * f(p.beta2))
      const denominator = f(f(f(Math.sqrt(v![i]!)) / root) + epsilon)
      w![i] = f(w![i]! * decay) + f(f(stepSize * m![i]!) / denominator)
    }
  }
}
