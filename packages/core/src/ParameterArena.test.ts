import assert from "node:assert/strict"
import test from "node:test"
import { MetaQueue } from "./MetaQueue.ts"
import { ParameterArena, type ParameterSpec } from "./ParameterArena.ts"
import { oneArena } from "./Queue.ts"
import { Scope } from "./Tensor.ts"

const spec = (path: string, shape: ReadonlyArray<number>, group: string, decays = true): ParameterSpec => ({
  path,
  shape,
  group,
  decays,
  init: () => []
})
const specs = [
  spec("w1", [2, 3], "lora_A"),
  spec("w2", [3, 2], "lora_B"),
  spec("gain", [4], "base", false),
  spec("w3", [5], "lora_A"),
  spec("w4", [2, 2], "base")
]
const layout = (views: boolean, of = specs) => {
  const queue = new MetaQueue({ ...oneArena("meta"), views })
  return { queue, arena: new ParameterArena(new Scope(queue, "weights"), of, "parameters", "adapters") }
}

test("with views, parameters lie end to end in one buffer, one range for each group and decay", () => {
  const { queue, arena } = layout(true)
  const found = arena.ranges.map(({ group, decays, flat, parameters }) => ({
    key: `${group} ${decays}`,
    size: flat.size,
    start: flat.start,
    parameters: parameters.map(({ path, start, length }) => `${path} ${start}+${length}`)
  }))
  assert.deepEqual(found.map(({ key }) => key).sort(), ["base false", "base true", "lora_A true", "lora_B true"])
  assert.deepEqual(found.find(({ key }) => key === "lora_A true")!.parameters, ["w1 0+6", "w3 6+5"])
  let next = 0
  for (const { start, size } of found) {
    assert.equal(start, next, "no hole between ranges")
    next += size
  }
  assert.equal(next, 25)
  assert.equal(queue.allocator.liveBytes, 128)
  assert.equal(new Set(arena.ranges.map(({ flat }) => flat.cell)).size, 1)
  for (const { flat, parameters } of arena.ranges) {
    for (const { path, start } of parameters) assert.equal(arena.get(path).byteOffset, flat.byteOffset + 4 * start)
  }
  assert.deepEqual(arena.get("w1").shape, [2, 3])
})
test("without views each parameter is a range of its own, in its own shape", () => {
  const { queue, arena } = layout(false)
  assert.equal(arena.ranges.length, specs.length)
  for (const { flat, parameters } of arena.ranges) {
    assert.equal(parameters.length, 1)
    const [{ path, start, length }] = parameters as [(typeof parameters)[number]] // its length was just checked
    assert.equal(arena.get(path), flat)
    assert.deepEqual([start, length, flat.start], [0, flat.size, 0])
    assert.deepEqual(flat.shape, specs.find((s) => s.path === path)!.shape)
  }
  assert.equal(queue.allocator.liveBytes, specs.length * 64)
})
test("two arenas of the same parameters have the same layout, whatever the order of their names", () => {
  for (const views of [true, false]) {
    const of = (arena: ParameterArena) =>
      arena.ranges.map(({ group, decays, parameters }) => [group, decays, parameters])
    assert.deepEqual(of(layout(views).arena), of(layout(views).arena))
  }
})
test("a path that is not there is named, and nothing to train takes no range", () => {
  const { arena } = layout(true)
  assert.throws(() => arena.get("w9"), /no parameter w9/)
  assert.deepEqual(arena.entries.map(([path]) => path).sort(), ["gain", "w1", "w2", "w3", "w4"])
  for (const views of [true, false]) assert.deepEqual(layout(views, []).arena.ranges, [])
})
