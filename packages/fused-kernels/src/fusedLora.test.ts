/** `loraQkv` and `loraMlp`, composed and fused: finite differences, equal results, each input alone, in the planned memory. */
import test from "node:test"
import { checkpoint, oneArena, ReferenceQueue } from "@graft/core"
import { assertClose, loraCases, type OpCase, onDevice, runOpCase, testGradient, testOp } from "@graft/testing"
import { fusedLoraMlp } from "./fusedLoraMlp.ts"
import { fusedLoraQkv } from "./fusedLoraQkv.ts"

const overrides = new Map([fusedLoraQkv, fusedLoraMlp].map((pair) => [pair.op, pair]))
const reference = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }

const recomputed = (one: OpCase): OpCase => ({
  ...one,
  prepare: (scope) => {
    const apply = one.prepare(scope)
    return (g, [x, ...rest]) => checkpoint(g, x!, (inner, t) => apply(inner, [t, ...rest]))
  }
})
const settled = async (one: OpCase, activations: "f32" | "bf16") =>
  onDevice(reference, async (queue, scope) => {
    const { value, gradients } = runOpCase(queue, scope, one, { activations })
    return [await value, ...(await Promise.all(gradients))]
  })

for (const one of loraCases) {
  const fused: OpCase = { ...one, name: `${one.name}, fused`, overrides }
  testGradient("fused-kernels", one)
  testOp("fused-kernels", reference, fused)
  for (const activations of ["f32", "bf16"] as const) {
    test(`${one.name}: fused in ${activations}, recomputed or not, as composed in f32`, async () => {
      const tolerance = activations === "f32" ? 1e-5 : 1 / 32
      const wanted = await settled(one, "f32") // composed in bf16 rounds more often than fused, and is up to 1/14 from this
      for (const other of [fused, recomputed(fused)]) {
        const got = await settled(other, activations)
        for (const [i, values] of wanted.entries())
          assertClose(got[i]!, values, tolerance, `${one.name}: ${i === 0 ? "value" : one.inputs[i - 1]!.name}`)
      }
    })
  }
}
