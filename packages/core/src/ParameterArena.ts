/**
 * Parameters, their gradients and moments lie in flat arenas of one layout: clipping, all-reduce, paging and the optimiser
 * see a few ranges, never a list of tensors. On a backend without views each tensor is a range of its own.
 */
import type { Category } from "./Allocator.ts"
import type { Source } from "./Queue.ts"
import { type Scope, sizeOf, type Tensor } from "./Tensor.ts"
import type { SourceTensor } from "./TensorSource.ts"

/** A trained tensor, f32. Those of one group share their hyper-parameters. */
export interface ParameterSpec {
  readonly path: string
  readonly shape: ReadonlyArray<number>
  readonly group: string
  /** Its first values: numbers, or a tensor of a file. */
  readonly init: Source | SourceTensor
  /** Whether weight decay acts on it: not on norms and biases. */
  readonly decays: boolean
}
/** One flat tensor of an arena, with the parameters that lie in it end to end. */
export interface Range {
  readonly group: string
  readonly decays: boolean
  readonly flat: Tensor
  readonly parameters: ReadonlyArray<{ readonly path: string; readonly start: number; readonly length: number }>
}

export class ParameterArena {
  readonly ranges: ReadonlyArray<Range>
  readonly #at = new Map<string, Tensor>()

  constructor(scope: Scope, specs: ReadonlyArray<ParameterSpec>, name: string, category: Category) {
    const key = (s: ParameterSpec) => `${s.group}\u0000${s.decays}`
    const sorted = specs.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0))
    const { views } = scope.queue.limits
    const runs: Array<Array<ParameterSpec>> = []
    for (const spec of sorted) {
      const last = runs.at(-1)
      if (views && last?.[0] !== undefined && key(last[0]) === key(spec)) last.push(spec)
      else runs.push([spec])
    }
    const total = specs.reduce((n, s) => n + sizeOf(s.shape), 0)
    const arena = views ? scope.tensor([total], name, "f32", category) : undefined
    let start = 0
    this.ranges = runs.map((run) => {
      const length = run.reduce((n, s) => n + sizeOf(s.shape), 0)
      const { group, decays, path, shape } = run[0]!
      const flat =
        arena?.range(start, [length], `${name} ${group}`) ?? scope.tensor(shape, `${path} (${name})`, "f32", category)
      let inRange = 0
      const parameters = run.map((spec) => {
        const at = inRange
        const size = sizeOf(spec.shape)
        this.#at.set(spec.path, arena === undefined ? flat : flat.range(at, spec.shape, `${spec.path} (${name})`))
        inRange += size
        return { path: spec.path, start: at, length: size }
      })
      start += length
      return { group, decays, flat, parameters }
    })
  }
  get(path: string): Tensor {
    const t = this.#at.get(path)
    if (t === undefined) throw new RangeError(`no parameter ${path}`)
    return t
  }
  get entries(): ReadonlyArray<readonly [path: string, tensor: Tensor]> {
    return [...this.#at]
  }
}
