/** An optimiser over ranges: device scalars decide, state comes and goes by pieces, a bad step changes nothing. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  type MakeOptimizer,
  MetaQueue,
  type OptimizerState,
  ParameterArena,
  type ParameterSpec,
  type Queue,
  ReferenceQueue,
  Scope,
  sizeOf
} from "@graft/core"
import { arenasOf, type BackendUnderTest, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose, assertSame } from "./closeness.ts"
import { randomValues, tensorOf } from "./tensorOf.ts"

/** What another implementation computed from the same numbers. */
export interface Trajectory {
  readonly name: string
  readonly make: MakeOptimizer
  readonly start: ArrayLike<number>
  readonly steps: ReadonlyArray<{
    readonly gradient: ArrayLike<number>
    readonly learningRate: number
    /** Where they are known. */
    readonly parameters?: ArrayLike<number>
    /** Pieces by the end of their name. */
    readonly state?: Readonly<Record<string, ArrayLike<number>>>
  }>
  /** As a share of the largest number. */
  readonly tolerance: number
}
export interface OptimizerCase {
  readonly name: string
  /** With a weight decay above 0, or `decays` is false. */
  readonly make: MakeOptimizer
  readonly decays: boolean
  readonly trajectories?: () => ReadonlyArray<Trajectory>
  /** Largest difference between a backend and the reference after some steps. */
  readonly tolerance?: number
}
export const optimizerSpecs: ReadonlyArray<ParameterSpec> = (
  [
    ["w1", [7, 5], "lora_A", true],
    ["w2", [5, 9], "lora_B", true],
    ["gain", [9], "base", false],
    ["w3", [3, 4], "lora_A", true]
  ] as const
).map(([path, shape, group, decays], i) => ({
  path,
  shape,
  group,
  decays,
  init: () => randomValues(sizeOf(shape), 50 + i)
}))

/** Parameters, their gradients and an optimiser of both, with one step and what is read back. */
export const optimizerRun = (
  queue: Queue,
  scope: Scope,
  make: MakeOptimizer,
  of: ReadonlyArray<ParameterSpec> = optimizerSpecs
) => {
  const parameters = new ParameterArena(scope, of, "parameters", "adapters")
  const gradients = new ParameterArena(scope, of, "gradients", "gradients")
  for (const { path, init } of of) if (typeof init === "function") queue.upload(parameters.get(path), init)
  const optimizer = make(
    queue,
    scope,
    parameters.ranges.map((range, i) => ({ ...range, gradients: gradients.ranges[i]!.flat }))
  )
  /** One update; `control` = (factor, finite, steps applied, norm). */
  const step = (seed: number, control: readonly [number, number, number, number], rate = 0.01, size = 1) => {
    using inStep = new Scope(queue, "activations")
    for (const [i, { path, shape }] of of.entries())
      queue.upload(gradients.get(path), () => randomValues(sizeOf(shape), seed * 100 + i, size))
    queue.atomic(() => optimizer.update(tensorOf(inStep, "control", [4], control), rate))
  }
  const read = (): Promise<ReadonlyArray<Float32Array>> => Promise.all(parameters.entries.map(([, t]) => queue.read(t)))
  return { parameters, gradients, optimizer, step, read }
}
const stateOf = ({ pieces }: OptimizerState): Promise<ReadonlyArray<Uint8Array>> =>
  Promise.all(pieces.map((piece) => piece.read()))
const assertAll = (
  got: ReadonlyArray<ArrayLike<number>>,
  wanted: ReadonlyArray<ArrayLike<number>>,
  tolerance: number,
  what: string
) => {
  assert.equal(got.length, wanted.length)
  for (const [i, values] of got.entries()) assertClose(values, wanted[i]!, tolerance, `${what}, ${i}`)
}

export const testOptimizer = (name: string, backend: BackendUnderTest, one: OptimizerCase): void => {
  const check = (title: string, body: (queue: Queue, scope: Scope) => Promise<void>): void => {
    test(`${name}: ${one.name}: ${title}`, () => onDevice(backend, body))
  }
  check("follows the reference", async (queue, scope) => {
    const reference = new ReferenceQueue(arenasOf(backend.limits, MiB), { limits: backend.limits })
    const [got, wanted] = [
      optimizerRun(queue, scope, one.make),
      optimizerRun(reference, new Scope(reference, "weights"), one.make)
    ]
    for (const run of [got, wanted]) for (let t = 1; t <= 5; t++) run.step(t, [0.25, 1, t, 1])
    assertAll(await got.read(), await wanted.read(), one.tolerance ?? 1e-6, "parameters")
    assert.ok(
      (await got.read()).every((values, i) => values.some((v, j) => v !== randomValues(values.length, 50 + i)[j]))
    )
    await reference.close()
  })
  check("a step that is not finite changes nothing, and later ones go on", async (queue, scope) => {
    const run = optimizerRun(queue, scope, one.make)
    run.step(1, [0.5, 1, 1, 1])
    const [parameters, state] = [await run.read(), await stateOf(run.optimizer)]
    run.step(2, [0, 0, 1, NaN])
    run.step(3, [0, 0, 1, Infinity], 0.01, Infinity)
    assertAll(await run.read(), parameters, 0, "parameters")
    assert.deepEqual(await stateOf(run.optimizer), state)
    run.step(4, [0.5, 1, 2, 1])
    assert.ok((await run.read()).every((values) => values.every(Number.isFinite)))
  })
  check("gradients are multiplied by the factor on the device", async (queue, scope) => {
    const [one1, one2] = [optimizerRun(queue, scope, one.make), optimizerRun(queue, scope, one.make)]
    for (let t = 1; t <= 3; t++) {
      one1.step(t, [0.125, 1, t, 1], 0.01, 8)
      one2.step(t, [1, 1, t, 1], 0.01, 1)
    }
    assertAll(await one1.read(), await one2.read(), 1e-6, "parameters")
  })
  check("weight decay acts where it should, the learning rate scales it", async (queue, scope) => {
    const run = optimizerRun(queue, scope, one.make)
    const before = await run.read()
    run.step(1, [1, 1, 1, 0], 0.1, 0)
    for (const [i, values] of (await run.read()).entries()) {
      const [path] = run.parameters.entries[i]!
      const shrinks = one.decays && optimizerSpecs.find((s) => s.path === path)!.decays
      if (!shrinks) assertSame(values, before[i]!, `${path} does not decay`)
      else for (const [j, v] of values.entries()) assert.ok(Math.abs(v) < Math.abs(before[i]![j]!), `${path} decays`)
    }
    const after = await run.read()
    run.step(2, [1, 1, 2, 1], 0)
    assertAll(await run.read(), after, 0, "a learning rate of 0")
  })
  check("its pieces are all of its state: a run goes on bit by bit", async (queue, scope) => {
    const first = optimizerRun(queue, scope, one.make)
    for (let t = 1; t <= 3; t++) first.step(t, [0.5, 1, t, 1])
    const { pieces } = first.optimizer
    const saved = await stateOf(first.optimizer)
    for (const [i, piece] of pieces.entries()) assert.equal(saved[i]!.byteLength, piece.bytes, piece.name)
    assert.equal(new Set(pieces.map((piece) => piece.name)).size, pieces.length, "names of pieces")
    const parameters = await first.read()
    const second = optimizerRun(queue, scope, one.make)
    for (const [i, [, t]] of second.parameters.entries.entries()) queue.upload(t, () => parameters[i]!)
    for (const [i, piece] of second.optimizer.pieces.entries()) await piece.write(() => saved[i]!)
    for (const run of [first, second]) for (let t = 4; t <= 6; t++) run.step(t, [0.5, 1, t, 1])
    assertAll(await second.read(), await first.read(), 0, "parameters")
    assert.deepEqual(await stateOf(second.optimizer), await stateOf(first.optimizer))
  })
  check("takes the planned memory, and no more in a step", async (queue, scope) => {
    const play = (on: Queue, within: Scope) => {
      const run = optimizerRun(on, within, one.make)
      run.step(1, [1, 1, 1, 1])
      const live = on.allocator.liveBytes
      run.step(2, [1, 1, 2, 1])
      assert.equal(on.allocator.liveBytes, live)
    }
    const meta = new MetaQueue(backend.limits)
    play(meta, new Scope(meta, "weights"))
    play(queue, scope)
    assert.deepEqual(queue.allocator.peaks, meta.plan.arenaBytes)
    assert.deepEqual(queue.allocator.peakByCategory, meta.plan.byCategory)
  })
  if (one.trajectories !== undefined) {
    const { trajectories } = one
    check("follows what others computed", async (queue, scope) => {
      const all = trajectories()
      assert.ok(all.length > 0)
      for (const trajectory of all) await follow(queue, scope, trajectory)
    })
  }
}
const follow = async (
  queue: Queue,
  scope: Scope,
  { name, make, start, steps, tolerance }: Trajectory
): Promise<void> => {
  const spec: ParameterSpec = { path: "p", shape: [start.length], group: "all", decays: true, init: () => start }
  const { parameters, gradients, optimizer } = optimizerRun(queue, scope, make, [spec])
  let compared = 0
  for (const [i, { gradient, learningRate, parameters: wanted, state }] of steps.entries()) {
    using inStep = new Scope(queue, "activations")
    queue.upload(gradients.get("p"), () => gradient)
    optimizer.update(tensorOf(inStep, "control", [4], [1, 1, i + 1, 1]), learningRate)
    if (wanted === undefined) continue
    assertClose(await queue.read(parameters.get("p")), wanted, tolerance, `${name}: parameters after step ${i + 1}`)
    for (const [end, values] of Object.entries(state ?? {})) {
      const piece = optimizer.pieces.find((p) => p.name.endsWith(end)) ?? assert.fail(`there is no piece ${end}`)
      const bytes = await piece.read()
      assertClose(new Float32Array(bytes.slice().buffer), values, tolerance, `${name}: ${end} after step ${i + 1}`)
    }
    compared++
  }
  assert.ok(compared > 0, `${name} has no numbers to compare`)
}
