/** The conformance suites on TensorFlow.js in JavaScript and in WebAssembly. */
import assert from "node:assert/strict"
import test from "node:test"
import { testBackend } from "@graft/testing"
import "@tensorflow/tfjs-backend-cpu"
import "@tensorflow/tfjs-backend-wasm"
import * as tf from "@tensorflow/tfjs-core"
import { tfjsLimits } from "./Tfjs.ts"
import { TfjsQueue } from "./TfjsQueue.ts"

for (const name of ["cpu", "wasm"]) {
  await tf.setBackend(name)
  await tf.ready()
  const before = tf.memory().numTensors
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
