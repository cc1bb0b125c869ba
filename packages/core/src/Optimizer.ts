/** What an optimiser is to a session: state over ranges of parameters, and an update that reads device scalars. */
import type { Range } from "./ParameterArena.ts"
import type { Queue, Source } from "./Queue.ts"
import { adamWKernel } from "./reference/optimizer.ts"
import { fill } from "./reference/rows.ts"
import type { Scope, Tensor } from "./Tensor.ts"

/** A piece of state that a checkpoint holds; read and written one at a time, so that state which pages stays paged. */
export interface StatePiece {
  readonly name: string
  readonly bytes: number
  readonly read: () => Promise<Uint8Array>
  /** Resolves when it lies on the device: pieces that wait for the device are memory. */
  readonly write: (bytes: Source) => Promise<void>
}
/** What moved between memory and what is behind it. A fault is a page that the update waited for, a hit one that was there in time. */
export interface PageTraffic {
  readonly faults: number
  readonly hits: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly stallSeconds: number
}
export interface OptimizerState {
  readonly pieces: ReadonlyArray<StatePiece>
  /**
   * Enqueues the update of all ranges, inside the step's atomic group. `control` f32 [4] = (factor of the summed gradients,
   * finite 1 or 0, steps applied with this one, gradient norm): a step that is not finite must change nothing.
   */
  readonly update: (control: Tensor, learningRate: number) => void
  /** Of state that pages: what has moved since it was last asked, as of this point of the program. */
  readonly traffic?: () => Promise<PageTraffic>
}
/** A range with its gradients in the same layout. */
export interface TrainedRange extends Range {
  readonly gradients: Tensor
}
/** Allocates its state in `scope`; told of ranges and groups, never of modules. */
export type MakeOptimizer = (queue: Queue, scope: Scope, ranges: ReadonlyArray<TrainedRange>) => OptimizerState

export const pieceOf = (queue: Queue, name: string, t: Tensor): StatePiece => ({
  name,
  bytes: t.bytes,
  read: () => queue.readBytes(t),
  write: (bytes) => {
    queue.upload(t, bytes)
    return queue.idle()
  }
})

export interface AdamWOptions {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** A factor of the learning rate by group: LoRA+ gives B more than A (arXiv:2402.12354). */
  readonly groupFactors: Readonly<Record<string, number>>
}
/** AdamW as torch.optim.AdamW computes it (arXiv:1711.05101), 8 bytes of state a parameter. */
export const adamW =
  (options: AdamWOptions): MakeOptimizer =>
  (queue, scope, ranges) => {
    const zeros = (name: string, like: Tensor) => {
      const t = scope.tensor(like.shape, name, "f32", "optimizer")
      queue.enqueue(fill, [t], { value: 0 })
      return t
    }
    const states = ranges.map((range) => ({
      range,
      m: zeros(`${range.group} exp_avg`, range.flat),
      v: zeros(`${range.group} exp_avg_sq`, range.flat)
    }))
    const { beta1, beta2, epsilon } = options
    return {
      pieces: states.flatMap(({ range: { group, decays }, m, v }, i) => [
        pieceOf(queue, `${i}.${group}.${decays}.exp_avg`, m),
        pieceOf(queue, `${i}.${group}.${decays}.exp_avg_sq`, v)
      ]),
      update: (control, rate) => {
        for (const { range, m, v } of states) {
          queue.enqueue(adamWKernel, [range.flat, m, v, range.gradients, control], {
            learningRate: rate * (options.groupFactors[range.group] ?? 1),
            beta1,
            beta2,
            epsilon,
            weightDecay: range.decays ? options.weightDecay : 0
          })
        }
      }
    }
  }
