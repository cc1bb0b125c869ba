/**
 * One training run on one queue, plain and synchronous: `step` enqueues a whole optimiser step and returns. On the meta
 * queue the same code is the memory plan.
 */
import {
  type ActivationDType,
  type AdapterPlan,
  type Assembly,
  addInto,
  alwaysResident,
  assemble,
  clipControl,
  collate,
  fill,
  Graph,
  type Leaf,
  type Linear,
  type Loaded,
  type MakeOptimizer,
  type MicroBatch,
  type Model,
  type OptimizerState,
  type Overrides,
  ParameterArena,
  type ParameterSpec,
  pieceOf,
  type Queue,
  type Residency,
  type SavedParameter,
  Scope,
  type StatePiece,
  stepGuard,
  sum,
  sumSquares,
  supervisedIn,
  type Tensor
} from "@graft/core"
import { withNoise } from "./neftune.ts"
import { BATCH, OPTIMISER } from "./origins.ts"
import { parameterPieces } from "./parameterPieces.ts"
import { savedParameters } from "./savedParameters.ts"
import { scoreOf } from "./scoreOf.ts"
import { type Stack, stackOf } from "./stackOf.ts"
import { stepTogether } from "./stepTogether.ts"
import { summedLoss } from "./summedLoss.ts"

/** The parts of a run as functions of a queue: nothing here holds a buffer. */
export interface Recipe extends Assembly {
  readonly optimizer: MakeOptimizer
  readonly overrides: Overrides
  /** Sums over processes: gradients and the count of tokens, between backward and clipping. */
  readonly allReduce: (queue: Queue, tensors: ReadonlyArray<Tensor>) => void
  readonly compute: ActivationDType
  readonly seed: number
  readonly checkpointing: boolean | number
  /** Layers whose attention is computed again, from the first on; left out: those that are recomputed whole. */
  readonly attentionAgain?: number | undefined
  /** Of the global norm of the mean gradient; 0 does not clip. */
  readonly maxGradNorm: number
  /** NEFTune's alpha; 0 or left out adds no noise. */
  readonly neftuneAlpha?: number
  /** The share of each target's weight that is spread over the vocabulary, as torch's label_smoothing. */
  readonly labelSmoothing?: number
  /** A loss above this times the mean of the last ones is not applied; 0 or left out: any is. */
  readonly spikeFactor?: number
  /** Whether nothing is applied any more behind a step that was not. */
  readonly haltsOnBadStep?: boolean
  /** Micro-batches up to so many tokens go through the base for all adapters of a sweep at once; left out: 256. */
  readonly stackedTokens?: number
}
/** The summed loss [1], the supervised tokens [1], the control scalars [4] of optimizer.ts and the guard [3] of stepGuard.ts. */
export interface StepScalars {
  readonly loss: Tensor
  readonly tokens: Tensor
  readonly control: Tensor
  readonly guard: Tensor
}
type Report = (scalars: StepScalars) => void
/** The gradients of one step as they add up. */
export interface Gathering extends Disposable {
  readonly session: Session
  /** [1], to which the micro-batches' summed losses add up. */
  readonly loss: Tensor
  readonly leaves: ReadonlyArray<Tensor>
  /** Where the next micro-batch's gradients go; `finish` when it has been pulled back. */
  readonly sink: () => ReturnType<typeof gradientSink>
  readonly pass: (documents: MicroBatch) => void
  /** Behind the last micro-batch. */
  readonly close: () => void
  /** Belongs into the step's atomic group. */
  readonly commit: (learningRate: number, report: Report) => void
}
export interface Session extends Disposable {
  readonly model: Model
  readonly adapter: AdapterPlan
  readonly parameters: ParameterArena
  readonly optimizer: OptimizerState
  residency: Residency
  /** Enqueues one step; `report` sees its scalars before they are freed. */
  readonly step: (step: number, micro: ReadonlyArray<MicroBatch>, learningRate: number, report: Report) => void
  /** Puts this session's adapter in the model that it shares with others: for who calls the model itself. */
  readonly use: () => void
  /** Begins a step: its gradients are gathered micro-batch by micro-batch, then committed. */
  readonly gather: (step: number, micro: ReadonlyArray<MicroBatch>) => Gathering
  /** All adapters over this base, where several may share a pass through it. */
  stack?: Stack
  /** Enqueues the summed loss of one micro-batch and how many targets are ranked first, without gradients. */
  readonly evaluate: (documents: MicroBatch, report: (loss: Tensor, hits: Tensor) => void) => void
  /** All that a checkpoint must hold, besides the number of the step. */
  readonly pieces: ReadonlyArray<StatePiece>
  /** Its trained tensors as they are when they are read. */
  readonly saved: ReadonlyArray<SavedParameter>
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
  const [session] = yield* makeSessions(queue, recipe, [recipe.adapter])
  return session!
}

/** One session for each adapter over one base; disposing of the first gives everything back. */
export function* makeSessions(
  queue: Queue,
  recipe: Recipe,
  adapters: ReadonlyArray<AdapterPlan>
): Generator<Loaded, ReadonlyArray<Session>, void> {
  const scope = new Scope(queue, "weights")
  const [first, ...others] = adapters
  const model = yield* recipe.load(queue, scope, first!.trainsBase)
  if (others.length > 0 && model.trained.length > 0) {
    throw new TypeError(
      `a sweep trains adapters over one frozen base, but ${model.trained[0]!.path} of the base is trained; train these one by one`
    )
  }
  const frozen = model.linears.under()
  const sessions: Array<Session> = []
  const tables: Array<ReadonlyArray<Linear>> = []
  for (const adapter of adapters) {
    for (const linear of frozen) model.linears.replace(linear.path, () => linear)
    const load = function* () {
      yield* [] // it is loaded
      return model
    }
    const own = yield* assemble(queue, scope, { load, adapter })
    const bound = model.linears.under()
    const use = () => {
      if (adapters.length > 1) for (const linear of bound) model.linears.replace(linear.path, (): Linear => linear)
    }
    sessions.push(sessionOf(queue, scope, { ...recipe, adapter }, own, use))
    tables.push(bound)
  }
  const stack = stackOf(queue, recipe, model, frozen, tables)
  if (stack !== undefined) for (const session of sessions) session.stack = stack
  return sessions
}

interface Assembled {
  readonly model: Model
  readonly parameters: ParameterArena
  readonly specs: ReadonlyArray<ParameterSpec>
}
const sessionOf = (
  queue: Queue,
  scope: Scope,
  recipe: Recipe,
  { model, parameters, specs }: Assembled,
  use: () => void
): Session => {
  const gradients = new ParameterArena(scope, specs, "gradients", "gradients")
  const ranges = parameters.ranges.map((range, i) => ({ ...range, gradients: gradients.ranges[i]!.flat }))
  const optimizer = recipe.optimizer(queue, scope, ranges)
  const zeros = (size: number, name: string): Tensor => {
    const t = scope.tensor([size], name, "f32", "optimizer")
    queue.enqueue(fill, [t], { value: 0 })
    return t
  }
  const [control, guard, halted] = [zeros(4, "control"), zeros(3, "guard"), zeros(1, "halted")]
  const leaves = parameters.entries.map(([path, t]) => [t, gradients.get(path)] as const)
  const {
    overrides,
    compute: activations,
    neftuneAlpha = 0,
    labelSmoothing,
    spikeFactor: spike = 0,
    haltsOnBadStep: halts = false
  } = recipe
  const { logitSoftCap: softCap = 0 } = model.description

  const gather: Session["gather"] = (step, micro) => {
    queue.origin = BATCH
    const inStep = new Scope(queue, "activations")
    const scalar = (name: string): Tensor => inStep.tensor([1], name)
    const [loss, one, tokens] = [scalar("loss"), scalar("one"), scalar("tokens")]
    const partials = inStep.tensor([ranges.length], "Σ g²")
    queue.enqueue(fill, [one], { value: 1 })
    queue.enqueue(fill, [loss], { value: 0 })
    queue.upload(tokens, () => [micro.reduce((n, documents) => n + supervisedIn(documents), 0)])
    let passes = 0
    const sink = () => gradientSink(queue, leaves, passes++ > 0)
    return {
      session,
      loss,
      leaves: leaves.map(([t]) => t),
      sink,
      pass: (documents) => {
        use()
        queue.origin = BATCH
        using inBatch = new Scope(queue, "activations")
        const batch = collate(inBatch, documents, { seed: recipe.seed, step, training: true })
        const table = neftuneAlpha > 0 ? withNoise(overrides, inBatch, documents, batch, neftuneAlpha) : overrides
        using g = new Graph(queue, { overrides: table, activations })
        g.watch(...leaves.map(([t]) => t))
        const { residency } = session
        const { checkpointing, attentionAgain } = recipe
        const hidden = model.forward(g, batch, { residency, checkpointing, attentionAgain })
        const part = summedLoss(g, hidden, model, batch, labelSmoothing)
        addInto(g, loss, part, { accumulate: true })
        const { leaf, finish } = sink()
        g.backward(part, one, leaf)
        finish()
      },
      close: () => {
        queue.origin = OPTIMISER
        recipe.allReduce(queue, [...ranges.map((r) => r.gradients), tokens, loss])
        queue.enqueue(fill, [partials], { value: 0 })
        for (const [slot, range] of ranges.entries()) queue.enqueue(sumSquares, [partials, range.gradients], { slot })
      },
      commit: (learningRate, report) => {
        queue.enqueue(clipControl, [control, partials, tokens], { maxNorm: recipe.maxGradNorm })
        queue.enqueue(stepGuard, [control, guard, halted, loss, tokens], { spike, halts })
        optimizer.update(control, learningRate)
        report({ loss, tokens, control, guard })
      },
      [Symbol.dispose]: () => inStep[Symbol.dispose]()
    }
  }
  const session: Session = {
    model,
    adapter: recipe.adapter,
    parameters,
    optimizer,
    residency: alwaysResident,
    use,
    gather,
    step: (step, micro, learningRate, report) =>
      stepTogether(
        queue,
        [session],
        step,
        micro,
        () => learningRate,
        (_, s) => report(s)
      ),
    evaluate: (documents, report) => {
      use()
      using inBatch = new Scope(queue, "activations")
      using g = new Graph(queue, { overrides, activations })
      const batch = collate(inBatch, documents, { seed: recipe.seed, step: 0, training: false })
      const hidden = model.forward(g, batch, { residency: session.residency })
      const { losses, hits } = scoreOf(g, hidden, model.head, batch.targets, { softCap, supervised: batch.supervised })
      report(sum(g, losses, 1), sum(g, hits, 1))
    },
    get pieces() {
      return [
        ...parameters.ranges.flatMap(({ flat, group, decays }, i) =>
          parameterPieces(queue, `${i}.${group}.${decays}.parameters`, flat)
        ),
        ...optimizer.pieces,
        pieceOf(queue, "control", control),
        pieceOf(queue, "guard", guard)
      ]
    },
    saved: savedParameters(queue, parameters),
    control: () => queue.read(control),
    [Symbol.dispose]: () => scope[Symbol.dispose]()
  }
  return session
}
