/**
 * The update of a run of parameters in one pass: gradient, state and parameter are read, state and parameter written. The
 * state is that of stateRecord.ts; 8-bit state is widened a block at a time, used in f32, and quantised after the step.
 *
 * Operands: parameters f32, state u8, gradients f32, control f32 [4] = (factor of the summed gradients, finite, steps applied
 * t with this one, norm). `start` and `count` are elements of parameters and gradients, `offset` bytes of the state. A step
 * that is not finite changes nothing. Each assignment is f32; `fused` marks a multiply-add that is rounded once, where torch
 * has one on x86; factors that do not depend on the element are made in f64 and rounded once.
 */
import type { Kernel, View } from "@graft/core"
import { codeOf, type DynamicMap, signedMap, unsignedMap } from "./dynamicMap.ts"
import { type Bits, BLOCK, recordBytes, runBytes, type States } from "./stateRecord.ts"

const f = Math.fround
/** The product of two f32 is exact in f64, so that the sum alone is rounded (twice; it differs from once in 1 of 2^29). */
const fused = (a: number, b: number, c: number): number => f(a * b + c)

/** Where in its operands an update works. */
export interface Place {
  readonly start: number
  readonly count: number
  readonly offset: number
}
const PLACE = ["start", "count", "offset"] as const

/** One block as the rules see it: parameters, gradients times the factor, state in f32. All begin at 0. */
interface Block {
  readonly n: number
  readonly w: Float32Array
  readonly g: Float32Array
  readonly state: readonly [Float32Array, Float32Array]
}
interface Rule<P> {
  readonly name: string
  readonly states: States
  readonly fields: ReadonlyArray<keyof P & string>
  /** What updates a block, from the hyper-parameters and the count of steps. */
  readonly at: (params: P, steps: number, bits: Bits) => (block: Block) => void
}

const maps: readonly [DynamicMap, DynamicMap] = [signedMap, unsignedMap]

/** Visits the blocks with their state in f32, and writes it back. */
const eachBlock = (
  [w, state, g, control]: ReadonlyArray<View>,
  { start, count, offset }: Place,
  bits: Bits,
  states: States,
  visit: (block: Block) => void
): void => {
  const gradients = new Float32Array(BLOCK)
  const wide = [new Float32Array(BLOCK), new Float32Array(BLOCK)] as const
  const bytes = state as Uint8Array // by the kernel's dtypes
  const floats = (at: number, n: number) => new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, n)
  let at = offset
  for (let from = 0; from < count; from += BLOCK) {
    const n = Math.min(BLOCK, count - from)
    for (let i = 0; i < n; i++) gradients[i] = g![start + from + i]! * control![0]!
    const block = { n, w: (w as Float32Array).subarray(start + from, start + from + n), g: gradients } // likewise
    if (bits === 32) {
      visit({ ...block, state: [floats(at, n), states === 2 ? floats(at + 4 * n, n) : wide[1]] })
    } else {
      const absmax = floats(at, states)
      const codes = (s: number) => bytes.subarray(at + 4 * states + s * n, at + 4 * states + (s + 1) * n)
      for (let s = 0; s < states; s++) {
        const { values } = maps[s]!
        for (let i = 0; i < n; i++) wide[s]![i] = values[codes(s)[i]!]! * absmax[s]!
      }
      visit({ ...block, state: wide })
      for (let s = 0; s < states; s++) {
        let top = 0
        for (let i = 0; i < n; i++) top = Math.max(top, Math.abs(wide[s]![i]!))
        absmax[s] = top
        const reciprocal = f(1 / absmax[s]!)
        for (let i = 0; i < n; i++) codes(s)[i] = codeOf(maps[s]!, wide[s]![i]!, reciprocal)
      }
    }
    at += recordBytes(bits, states, n)
  }
}

const updateKernel = <P>({ name, states, fields, at }: Rule<P>, bits: Bits): Kernel<P & Place> => ({
  name: `${name}${bits}`,
  outputs: 2,
  inPlace: [0, 1],
  fields: [...PLACE, ...fields],
  dtypes: ["f32", "u8", "f32", "f32"],
  check: ([w, state, g], { start, count, offset }) =>
    (start < 0 || count < 1 || start + count > w!.size || w!.size !== g!.size || offset % 4 !== 0 || offset < 0
      ? `elements ${start} … ${start + count} of ${w!.size}, ${g!.size} gradients, state from byte ${offset}`
      : undefined) ??
    (offset + runBytes(bits, states, count) > state!.size &&
      `${count} parameters have ${runBytes(bits, states, count)} bytes of state, there are ${state!.size - offset}`),
  reference: (views, params) => {
    const control = views[3]!
    if (control[1] === 0) return
    eachBlock(views, params, bits, states, at(params, control[2]!, bits))
  }
})

export interface AdamParams {
  readonly learningRate: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** Weight decay apart from the gradient (AdamW), or added to it (Adam). */
  readonly decoupled: boolean
}
/** AdamW (arXiv:1711.05101) and Adam (arXiv:1412.6980) in the order of torch.optim; in 8 bits in bitsandbytes'. */
const adam: Rule<AdamParams> = {
  name: "paged-optim.adam",
  states: 2,
  fields: ["learningRate", "beta1", "beta2", "epsilon", "weightDecay", "decoupled"],
  at: ({ learningRate, beta1, beta2, weightDecay, decoupled, ...p }, steps, bits) => {
    const keep = f(decoupled ? 1 - learningRate * weightDecay : 1)
    const pull = f(decoupled ? 0 : weightDecay)
    const [keepM, addM, keepV, addV] = [f(beta1), f(1 - beta1), f(beta2), f(1 - beta2)]
    const stepSize = f(-learningRate / (1 - beta1 ** steps))
    const root = f(Math.sqrt(1 - beta2 ** steps))
    const epsilon = f(p.epsilon)
    return ({ n, w, g, state: [m, v] }) => {
      for (let i = 0; i < n; i++) {
        const d = pull === 0 ? g[i]! : fused(w[i]!, pull, g[i]!)
        // torch's lerp, which is exact at its nearer end; bitsandbytes' sum.
        if (bits === 8) m[i] = fused(d, addM, f(m[i]! * keepM))
        else if (addM < 0.5) m[i] = fused(addM, f(d - m[i]!), m[i]!)
        else m[i] = fused(f(addM - 1), f(d - m[i]!), d)
        v[i] = fused(f(addV * d), d, f(v[i]! * keepV))
        const denominator = f(f(f(Math.sqrt(v[i]!)) / root) + epsilon)
        w[i] = f(w[i]! * keep) + f(f(stepSize * m[i]!) / denominator)
      }
    }
  }
}
export const adam32 = updateKernel(adam, 32)
export const adam8 = updateKernel(adam, 8)

export interface LionParams {
  readonly learningRate: number
  readonly beta1: number
  readonly beta2: number
  readonly weightDecay: number
}
/** Lion (arXiv:2302.06675) as bitsandbytes computes it: w ← w·(1 − lr·decay) − lr·sign(β1·m + (1 − β1)·g). */
const lion: Rule<LionParams> = {
  name: "paged-optim.lion",
  states: 1,
  fields: ["learningRate", "beta1", "beta2", "weightDecay"],
  at: ({ learningRate, beta1, beta2, weightDecay }, _, bits) => {
    const keep = f(1 - learningRate * weightDecay)
    const [keep1, add1, keep2, add2] = [f(beta1), f(1 - beta1), f(beta2), f(1 - beta2)]
    const rate = f(-learningRate)
    return ({ n, w, g, state: [m] }) => {
      for (let i = 0; i < n; i++) {
        const kept = f(m[i]! * keep1)
        const direction = Math.sign(bits === 8 ? f(kept + f(g[i]! * add1)) : fused(g[i]!, add1, kept))
        w[i] = fused(direction, rate, f(w[i]! * keep))
        m[i] = fused(g[i]!, add2, f(m[i]! * keep2))
      }
    }
  }
}
export const lion32 = updateKernel(lion, 32)
export const lion8 = updateKernel(lion, 8)

export interface SgdParams {
  readonly learningRate: number
  readonly momentum: number
  readonly weightDecay: number
}
/** SGD with momentum as torch.optim.SGD has it: m ← μ·m + g + decay·w, w ← w − lr·m. */
const sgd: Rule<SgdParams> = {
  name: "paged-optim.sgd",
  states: 1,
  fields: ["learningRate", "momentum", "weightDecay"],
  at: ({ learningRate, momentum, weightDecay }) => {
    const [pull, keep, rate] = [f(weightDecay), f(momentum), f(-learningRate)]
    return ({ n, w, g, state: [m] }) => {
      for (let i = 0; i < n; i++) {
        m[i] = f(m[i]! * keep) + fused(w[i]!, pull, g[i]!)
        w[i] = fused(m[i]!, rate, w[i]!)
      }
    }
  }
}
export const sgd32 = updateKernel(sgd, 32)
export const sgd8 = updateKernel(sgd, 8)
