/** addRmsNorm, composed and fused: finite differences, each input and output alone, one tensor in two places, recomputed. */
import test from "node:test"
import { addRmsNorm, addRows, checkpoint, type Graph, oneArena, ReferenceQueue, swiglu, type Tensor } from "@graft/core"
import { assertClose, type OpCase, onDevice, runOpCase, testGradient, testOp } from "@graft/testing"
import { fusedAddRmsNorm } from "./fusedAddRmsNorm.ts"

const overrides = new Map([[fusedAddRmsNorm.op, fusedAddRmsNorm]])
const reference = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }
const shape = [5, 12]
const inputs = [
  { name: "x", shape },
  { name: "y", shape },
  { name: "gain", shape: [12], parameter: true }
]
const uses: Readonly<Record<string, (g: Graph, x: Tensor, y: Tensor, gain: Tensor) => Tensor>> = {
  both: (g, x, y, gain) => {
    const [h, n] = addRmsNorm(g, x, y, gain, 1e-5)
    return addRows(g, h, swiglu(g, n, n), 0, 1)
  },
  "the sum": (g, x, y, gain) => addRmsNorm(g, x, y, gain, 1e-5)[0],
  "the norm": (g, x, y, gain) => addRmsNorm(g, x, y, gain, 1e-5)[1],
  "both, with x read again": (g, x, y, gain) => {
    const [h, n] = addRmsNorm(g, x, y, gain, 1e-5)
    return addRows(g, addRows(g, h, n, 0, 1), swiglu(g, x, n), 0, 1)
  },
  "x added to itself": (g, x, y, gain) => {
    const t = swiglu(g, x, y)
    const [h, n] = addRmsNorm(g, t, t, gain, 1e-5)
    return addRows(g, h, swiglu(g, n, y), 0, 1)
  }
}
const settled = (one: OpCase) =>
  onDevice(reference, async (queue, scope) => {
    const { value, gradients } = runOpCase(queue, scope, one)
    return [await value, ...(await Promise.all(gradients))]
  })

for (const [name, use] of Object.entries(uses)) {
  const one: OpCase = {
    name: `addRmsNorm, ${name}`,
    inputs,
    prepare:
      () =>
      (g, [x, y, w]) =>
        use(g, x!, y!, w!)
  }
  const fused: OpCase = { ...one, name: `${one.name}, fused`, overrides }
  const recomputed: OpCase = {
    ...fused,
    prepare:
      () =>
      (g, [x, y, w]) =>
        checkpoint(g, x!, (inner, t) => use(inner, t, y!, w!))
  }
  testGradient("fused-kernels", one)
  testOp("fused-kernels", reference, fused)
  test(`${one.name}: fused, recomputed or not, as composed`, async () => {
    const wanted = await settled(one)
    for (const other of [fused, recomputed]) {
      const got = await settled(other)
      for (const [i, values] of wanted.entries()) assertClose(got[i]!, values, 1e-6, `${name}, ${i}`)
    }
  })
}
