/**
 * One training run on one queue, plain and synchronous: `step` enqueues a whole optimiser step and returns. On the meta
 * queue the same code is the memory plan.
 */
import {
  type ActivationDType,
  type Assembly,
  addInto,
  alwaysResident,
  assemble,
  clipControl,
  collate,
  fill,
  Graph,
  type Leaf,
  type Loaded,
  linearCrossEntropy,
  type MakeOptimizer,
  type MicroBatch,
  type Model,
  type OptimizerState,
  type Overrides,
  ParameterArena,
  pieceOf,
  type Queue,
  type Residency,
  type SavedParameter,
  Scope,
  type StatePiece,
  sum,
  sumSquares,
  supervisedIn,
  type Tensor
} from "@graft/core"

/** The parts of a run as functions of a queue: nothing here holds a buffer. */
export interface Recipe extends Assembly {
  readonly optimizer: MakeOptimizer
  readonly overrides: Overrides
  /** Sums over processes: gradients and the count of tokens, between backward and clipping. */
  readonly allReduce: (queue: Queue, tensors: ReadonlyArray<Tensor>) => void
  readonly compute: ActivationDType
  readonly seed: number
  readonly checkpointing: boolean
  /** Of the global norm of the mean gradient; 0 does not clip. */
  readonly maxGradNorm: number
}
/** The summed loss [1], the supervised tokens [1] and the control scalars [4] of optimizer.ts. */
export interface StepScalars {
  readonly loss: Tensor
  readonly tokens: Tensor
  readonly control: Tensor
}
export interface Session extends Disposable {
  readonly model: Model
  readonly parameters: ParameterArena
  readonly optimizer: OptimizerState
  residency: Residency
  /** Enqueues one step; `report` sees its scalars before they are freed. */
  readonly step: (
    step: number,
    micro: ReadonlyArray<MicroBatch>,
    learningRate: number,
    report: (scalars: StepScalars) => void
  ) => void
  /** Enqueues the summed loss of one micro-batch, without gradients. */
  readonly evaluate: (documents: MicroBatch, report: (loss: Tensor) => void) => void
  /** All that a checkpoint must hold, besides the number of the step. */
  readonly pieces: ReadonlyArray<StatePiece>
  readonly read: () => Promise<ReadonlyArray<SavedParameter>>
  /** The control scalars as of the last update. */
  readonly control: () => Promise<Float32Array>
}

/** Destinations for leaf gradients in an arena; `finish` zeroes what no backward reached. */
export const gradientSink = (
  queue: Queue,
  pairs: ReadonlyArray<readonly [leaf: Tensor, gradient: Tensor]>,
  accumulate: boolean
) => {
  const into = new Map(pairs)
  const written = new Set(accumulate ? pairs.map(([, gradient]) => gradient) : [])
  const leaf: Leaf = (t) => {
    const tensor = into.get(t)
    if (tensor === undefined) return undefined
    const before = written.has(tensor)
    written.add(tensor)
    return { tensor, accumulate: before }
  }
  const finish = () => {
    for (const [, gradient] of pairs) if (!written.has(gradient)) queue.enqueue(fill, [gradient], { value: 0 })
  }
  return { leaf, finish }
}

export function* makeSession(queue: Queue, recipe: Recipe): Generator<Loaded, Session, void> {
  const scope = new Scope(queue, "weights")
  const { model, parameters, specs } = yield* assemble(queue, scope, recipe)
  const gradients = new ParameterArena(scope, specs, "gradients", "gradients")
  const ranges = parameters.ranges.map((range, i) => ({ ...range, gradients: gradients.ranges[i]!.flat }))
  const optimizer = recipe.optimizer(queue, scope, ranges)
  const control = scope.tensor([4], "control", "f32", "optimizer")
  queue.enqueue(fill, [control], { value: 0 })
  const leaves = parameters.entries.map(([path, t]) => [t, gradients.get(path)] as const)
  const { overrides, compute: activations } = recipe

  const lossOf = (g: Graph, inBatch: Scope, documents: MicroBatch, step: number, training: boolean): Tensor => {
    const batch = collate(inBatch, documents, { seed: recipe.seed, step, training })
    const options = { residency: session.residency, checkpointing: training && recipe.checkpointing }
    const hidden = model.forward(g, batch, options)
    return sum(g, linearCrossEntropy(g, hidden, model.head, batch.targets), 1)
  }
  const session: Session = {
    model,
    parameters,
    optimizer,
    residency: alwaysResident,
    step: (step, micro, learningRate, report) => {
      queue.origin = "batch"
      using inStep = new Scope(queue, "activations")
      const [loss, one, tokens] = ["loss", "one", "tokens"].map((name) => inStep.tensor([1], name)) as [
        Tensor,
        Tensor,
        Tensor
      ] // map keeps the length
      const partials = inStep.tensor([ranges.length], "Σ g²")
      queue.enqueue(fill, [one], { value: 1 })
      queue.upload(tokens, () => [micro.reduce((n, documents) => n + supervisedIn(documents), 0)])
      for (const [i, documents] of micro.entries()) {
        using inBatch = new Scope(queue, "activations")
        using g = new Graph(queue, { overrides, activations })
        g.watch(...leaves.map(([t]) => t))
        const part = lossOf(g, inBatch, documents, step, true)
        addInto(g, loss, part, { accumulate: i > 0 })
        const sink = gradientSink(queue, leaves, i > 0)
        g.backward(part, one, sink.leaf)
        sink.finish()
      }
      queue.origin = "optimiser"
      recipe.allReduce(queue, [...ranges.map((r) => r.gradients), tokens, loss])
      queue.enqueue(fill, [partials], { value: 0 })
      for (const [slot, range] of ranges.entries()) queue.enqueue(sumSquares, [partials, range.gradients], { slot })
      queue.atomic(() => {
        queue.enqueue(clipControl, [control, partials, tokens], { maxNorm: recipe.maxGradNorm })
        optimizer.update(control, learningRate)
      })
      report({ loss, tokens, control })
    },
    evaluate: (documents, report) => {
      using inBatch = new Scope(queue, "activations")
      using g = new Graph(queue, { overrides, activations })
      report(lossOf(g, inBatch, documents, 0, false))
    },
    get pieces() {
      return [
        ...parameters.ranges.map(({ flat, group, decays }, i) =>
          pieceOf(queue, `${i}.${group}.${decays}.parameters`, flat)
        ),
        ...optimizer.pieces,
        pieceOf(queue, "control", control)
      ]
    },
    read: () =>
      Promise.all(parameters.entries.map(async ([path, t]) => ({ path, shape: t.shape, values: await queue.read(t) }))),
    control: () => queue.read(control),
    [Symbol.dispose]: () => scope[Symbol.dispose]()
  }
  return session
}
