import { addRows, oneArena, ReferenceQueue, rmsNorm } from "@graft/core"
import { type BackendUnderTest, testOp } from "@graft/testing"
import { addBias } from "./addBias.ts"
import { scaled } from "./scaled.ts"
import { shiftedGain } from "./shiftedGain.ts"
import { splitColumns } from "./splitColumns.ts"

const reference: BackendUnderTest = { limits: oneArena("reference"), open: (bytes) => new ReferenceQueue(bytes) }
const x = { name: "x", shape: [5, 12] }
const parameter = (name: string) => ({ name, shape: [12], parameter: true })

const cases = [
  {
    name: "addBias",
    inputs: [x, parameter("b")],
    prepare:
      () =>
      (g, [t, b]) =>
        addBias(g, t!, b!)
  },
  {
    name: "addBias of one bias twice",
    inputs: [x, parameter("b")],
    prepare:
      () =>
      (g, [t, b]) =>
        addBias(g, addBias(g, t!, b!), b!)
  },
  {
    name: "splitColumns of which one part counts",
    inputs: [x],
    prepare:
      () =>
      (g, [t]) =>
        splitColumns(g, t!, [3, 7, 2])[1]!
  },
  {
    name: "splitColumns of which all parts count, twice",
    inputs: [x],
    prepare:
      () =>
      (g, [t]) => {
        const [a, b, c] = splitColumns(g, t!, [4, 4, 4])
        const [d, e] = splitColumns(g, t!, [8, 4])
        const [f] = splitColumns(g, d, [4, 4])
        return [b!, c!, e!, f].reduce((sum, part, i) => addRows(g, sum, part, 0, i - 1.5), a)
      }
  },
  {
    name: "scaled",
    inputs: [x],
    prepare:
      () =>
      (g, [t]) =>
        scaled(g, t!, -2.5)
  },
  {
    name: "a norm whose gain is 1 + w",
    inputs: [x, parameter("w")],
    prepare:
      () =>
      (g, [t, w]) =>
        rmsNorm(g, t!, shiftedGain(g, w!), 1e-5)
  },
  {
    name: "a norm of three heads",
    inputs: [x, { name: "w", shape: [4], parameter: true }],
    prepare:
      () =>
      (g, [t, w]) =>
        rmsNorm(g, t!, w!, 1e-5)
  }
] satisfies ReadonlyArray<Parameters<typeof testOp>[2]>

for (const one of cases) testOp("reference", reference, one)
