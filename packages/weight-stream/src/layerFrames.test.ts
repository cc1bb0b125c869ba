import assert from "node:assert/strict"
import test from "node:test"
import { FEWEST_FRAMES, layerFrames } from "./layerFrames.ts"

/** Goes through the layers as steps do; how many had to be read in the last one, and how many were not there in time. */
const reads = (layers: number, frames: number): { readonly read: number; readonly late: number } => {
  const plan = layerFrames(layers, frames)
  const held = new Map(plan.firsts.map((layer) => [plan.frameOf(layer), layer]))
  let [read, late] = [0, 0]
  const order = Array.from({ length: layers }, (_, i) => i)
  for (let step = 0; step < 3; step++) {
    read = late = 0
    for (const direction of [1, -1] as const)
      for (const layer of direction === 1 ? order : order.toReversed()) {
        const frame = plan.frameOf(layer)
        if (held.get(frame) !== layer) late++
        held.set(frame, layer)
        const next = plan.next(layer, direction, false)
        if (next === undefined) continue
        assert.equal(plan.frameOf(next), frame, "a frame is handed on to a layer of its own")
        held.set(frame, next)
        read++
      }
  }
  return { read, late }
}

test("a pass reads all layers but as many as there are frames, each ahead of its use", () => {
  for (let layers = 1; layers <= 24; layers++) {
    for (let frames = Math.min(FEWEST_FRAMES, layers); frames <= layers; frames++) {
      assert.deepEqual(reads(layers, frames), { read: 2 * (layers - frames), late: 0 }, `${frames} of ${layers}`)
    }
  }
})
test("layers that keep their frame are spread evenly", () => {
  const plan = layerFrames(80, 9)
  const kept = Array.from({ length: 80 }, (_, i) => i).filter((layer) => plan.frameOf(layer) >= 3)
  assert.deepEqual(kept, [13, 26, 39, 53, 66, 79])
  assert.equal(new Set(Array.from({ length: 80 }, (_, i) => plan.frameOf(i))).size, 9)
})
test("where passes repeat, the last ones of a pass make room for the first of the next", () => {
  const plan = layerFrames(5, 2)
  assert.deepEqual([plan.next(4, 1, true), plan.next(3, 1, true)], [0, 1])
  assert.deepEqual([plan.next(4, 1, false), plan.next(3, 1, false)], [undefined, undefined])
})
