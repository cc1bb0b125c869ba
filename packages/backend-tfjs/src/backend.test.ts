/** The conformance suites on TensorFlow.js in JavaScript and in WebAssembly. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import test from "node:test"
import { testBackend } from "@graft/testing"
import "@tensorflow/tfjs-backend-cpu"
import "@tensorflow/tfjs-backend-wasm"
import * as tf from "@tensorflow/tfjs-core"
import { tfjsLimits } from "./Tfjs.ts"
import { TfjsQueue } from "./TfjsQueue.ts"

/** What tfjs-node-gpu registers, by scripts/listKernels.ts. */
const { kernels } = JSON.parse(readFileSync(new URL("../kernels/tfjs-node-gpu.json", import.meta.url), "utf8")) as {
  readonly kernels: ReadonlyArray<string>
} // as its script writes it
/** Every kernel of TensorFlow.js that runs in this file. */
const used = new Set<string>()
const engine = tf.engine()
const runKernel = engine.runKernel.bind(engine)
engine.runKernel = (kernel, ...rest) => {
  used.add(kernel)
  return runKernel(kernel, ...rest)
}

const names = ["cpu", "wasm"]
// Both stand before a test is named: Node begins with the first while this file still waits.
for (const name of names) {
  await tf.setBackend(name)
  await tf.ready()
}
const before = tf.memory().numTensors
for (const name of names) {
  const limits = tfjsLimits(name)
  testBackend(`tfjs ${name}`, {
    limits,
    open: async (bytes) => {
      await tf.setBackend(name)
      return new TfjsQueue(tf, bytes, limits)
    }
  })
  test(`tfjs ${name}: every tensor was freed`, () => {
    assert.equal(tf.memory().numTensors, before)
  })
}

test("no kernel is used that tfjs-node-gpu has not", () => {
  assert.ok(kernels.length > 100 && used.size > 25, `${kernels.length} kernels, ${used.size} used`)
  assert.deepEqual(
    [...used].filter((kernel) => !kernels.includes(kernel)),
    []
  )
})
