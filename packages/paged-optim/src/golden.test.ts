/**
 * One step after the other from the state that torch and bitsandbytes had: codes, scales and moments bit for bit, parameters
 * too but for one thing. torch takes the square root of a contiguous tensor from MKL, which refines the processor's estimate
 * (rsqrtps) and is a unit off for one number in six; ours is rounded correctly. So a parameter must have the bits that come of
 * the root or of one of its two neighbours, with every other operation the same.
 */
import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { type Kernel, type Queue, type Tensor, widen } from "@graft/core"
import { memorySource, parseSafetensors } from "@graft/safetensors"
import { onReference, tensorOf } from "@graft/testing"
import { signedMap, unsignedMap } from "./dynamicMap.ts"
import { type Bits, BLOCK, recordBytes, runBytes, type States } from "./stateRecord.ts"
import { adam8, adam32, lion8, lion32, type Place, sgd8, sgd32 } from "./updateKernels.ts"

/** oracles/python/optimizers.py makes others. */
const path =
  process.env["GRAFT_OPTIMIZER_VECTORS"] ??
  fileURLToPath(new URL("../../../../shared/golden/optimizers.safetensors", import.meta.url))

/** The vectors were made with --exact-root: torch's parameters must then have our bits, all of them. */
const exactRoot = process.env["GRAFT_EXACT_ROOT"] === "1"

interface Case {
  readonly name: string
  readonly bits: Bits
  /** The names of the states in the file, and of their absmax. */
  readonly states: ReadonlyArray<readonly [state: string, absmax: string]>
  readonly enqueue: (queue: Queue, operands: ReadonlyArray<Tensor>, place: Place) => void
  /** Whether a parameter may come of a neighbour of the root. */
  readonly byRoot?: boolean
}
const kernel =
  <P>(of: Kernel<P & Place>, params: P): Case["enqueue"] =>
  (queue, operands, place) =>
    queue.enqueue(of, operands, { ...params, ...place })
const adamW = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, decoupled: true }
const lion = { learningRate: 1e-4, beta1: 0.9, beta2: 0.99, weightDecay: 0.01 }
const sgd = { learningRate: 1e-2, momentum: 0.9, weightDecay: 0.01 }
const twoStates = [
  ["state1", "absmax1"],
  ["state2", "absmax2"]
] as const
const oneState = [["state1", "absmax1"]] as const
const cases: ReadonlyArray<Case> = [
  {
    name: "torch.AdamW",
    bits: 32,
    states: [
      ["exp_avg", ""],
      ["exp_avg_sq", ""]
    ],
    enqueue: kernel(adam32, adamW),
    byRoot: true
  },
  {
    name: "torch.Adam",
    bits: 32,
    states: [
      ["exp_avg", ""],
      ["exp_avg_sq", ""]
    ],
    enqueue: kernel(adam32, { ...adamW, decoupled: false }),
    byRoot: true
  },
  { name: "bnb.AdamW8bit", bits: 8, states: twoStates, enqueue: kernel(adam8, adamW), byRoot: true },
  { name: "bnb.Lion32bit", bits: 32, states: oneState, enqueue: kernel(lion32, lion) },
  { name: "bnb.Lion8bit", bits: 8, states: oneState, enqueue: kernel(lion8, lion) },
  { name: "torch.SGD", bits: 32, states: [["momentum_buffer", ""]], enqueue: kernel(sgd32, sgd) },
  { name: "bnb.SGD8bit", bits: 8, states: oneState, enqueue: kernel(sgd8, sgd) }
]
const f = Math.fround
const maps = [signedMap, unsignedMap]
/** A root and its neighbours. */
const near = (root: number): ReadonlyArray<number> => {
  const bits = new Int32Array(Float32Array.of(root).buffer)[0]!
  return Array.from(new Float32Array(Int32Array.of(bits, Math.max(0, bits - 1), bits + 1).buffer))
}
/** What AdamW may make of a parameter, by the roots of torch.optim.AdamW's line `param.addcdiv_(exp_avg, denom, value=-step_size)`. */
const adamWValues = (w: number, m: number, v: number, step: number, decoupled: boolean): ReadonlyArray<number> => {
  const { learningRate, beta1, beta2, epsilon, weightDecay } = adamW
  const keep = f(decoupled ? 1 - learningRate * weightDecay : 1)
  const size = f(-learningRate / (1 - beta1 ** step))
  const correction = f(Math.sqrt(1 - beta2 ** step))
  return near(f(Math.sqrt(v))).map((root) => f(f(w * keep) + f(f(size * m) / f(f(root / correction) + f(epsilon)))))
}
/** Records from planes, and planes from records. */
const pack = (
  bits: Bits,
  planes: ReadonlyArray<Uint8Array>,
  absmax: ReadonlyArray<Float32Array>,
  n: number
): Uint8Array => {
  const states = planes.length as States
  const bytes = new Uint8Array(runBytes(bits, states, n))
  const width = bits === 32 ? 4 : 1
  for (let from = 0, at = 0; from < n; from += BLOCK) {
    const count = Math.min(BLOCK, n - from)
    const head = bits === 8 ? 4 * states : 0
    if (bits === 8) bytes.set(new Uint8Array(Float32Array.from(absmax.map((a) => a[from / BLOCK]!)).buffer), at)
    for (const [s, plane] of planes.entries())
      bytes.set(plane.subarray(from * width, (from + count) * width), at + head + s * count * width)
    at += recordBytes(bits, states, count)
  }
  return bytes
}
if (existsSync(path)) {
  const file = parseSafetensors(memorySource(path, readFileSync(path)))
  const bytes = (name: string) => new Uint8Array(file.get(name)!.read())
  const floats = (name: string) => widen(bytes(name), "f32")

  test("the maps are bitsandbytes'", () => {
    assert.deepEqual(signedMap.values, floats("bnb.AdamW8bit.qmap1"))
    assert.deepEqual(unsignedMap.values, floats("bnb.AdamW8bit.qmap2"))
  })
  const known = cases.filter(({ name }) => file.get(`${name}.0.p`) !== undefined)
  for (const { name, bits, states, enqueue, byRoot = false } of known) {
    const start = floats("p0")
    const n = start.length
    const planesAfter = (step: number) => ({
      states: states.map(([state]) => bytes(`${name}.${step}.${state}`)),
      absmax: states.map(([, absmax]) => (bits === 8 ? floats(`${name}.${step}.${absmax}`) : new Float32Array()))
    })
    const after = (step: number) => {
      if (step < 0) return { w: start, state: new Uint8Array(runBytes(bits, states.length as States, n)) }
      const { states: planes, absmax } = planesAfter(step)
      return { w: floats(`${name}.${step}.p`), state: pack(bits, planes, absmax, n) }
    }
    /** The moments that an AdamW step had before they were quantised. */
    const momentsOf = (step: number): ReadonlyArray<Float32Array> => {
      if (bits === 32) return [floats(`${name}.${step}.exp_avg`), floats(`${name}.${step}.exp_avg_sq`)]
      const before = step === 0 ? undefined : planesAfter(step - 1)
      const old = (s: number, i: number) =>
        before === undefined
          ? 0
          : f(maps[s]!.values[before.states[s]![i]!]! * before.absmax[s]![Math.floor(i / BLOCK)]!)
      const { beta1, beta2 } = adamW
      const g = floats(`grad.${step}`)
      return [
        g.map((d, i) => f(f(1 - beta1) * d + f(old(0, i) * f(beta1)))),
        g.map((d, i) => f(f(f(1 - beta2) * d) * d + f(old(1, i) * f(beta2))))
      ]
    }
    test(`${name}: bit by bit${byRoot ? ", the square root by one unit" : ""}`, () =>
      onReference(async (queue, scope) => {
        for (let step = 0; step < 5; step++) {
          const before = after(step - 1)
          const w = tensorOf(scope, "w", [n], before.w)
          const state = tensorOf(scope, "state", [before.state.length], before.state, "u8")
          const g = tensorOf(scope, "g", [n], floats(`grad.${step}`))
          const control = tensorOf(scope, "control", [4], [1, 1, step + 1, 1])
          enqueue(queue, [w, state, g, control], { start: 0, count: n, offset: 0 })
          const wanted = after(step)
          assert.deepEqual(await queue.readBytes(state), wanted.state, `state after step ${step}`)
          const got = await queue.read(w)
          if (!byRoot || (exactRoot && name.startsWith("torch."))) {
            assert.deepEqual(got, wanted.w, `parameters after step ${step}`)
            continue
          }
          const [m, v] = momentsOf(step) as [Float32Array, Float32Array] // both
          let equal = 0
          for (const [i, value] of wanted.w.entries()) {
            const values = adamWValues(before.w[i]!, m[i]!, v[i]!, step + 1, name !== "torch.Adam")
            assert.equal(got[i], values[0], `step ${step}, ${i}`)
            assert.ok(values.includes(value), `step ${step}, ${i}: ${value} is none of ${values}`)
            if (value === got[i]) equal++
          }
          assert.ok(equal > 0.95 * n, `${equal} of ${n} are equal`)
        }
      }))
  }
}
