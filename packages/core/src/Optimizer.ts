/** What an optimiser is to a session: state over ranges of parameters, and an update that reads device scalars. */
import type { Range } from "./ParameterArena.ts"
import type { Queue, Source } from "./Queue.ts"
import type { Scope, Tensor } from "./Tensor.ts"

/** A piece of state that a checkpoint holds; read and written one at a time, so that state which pages stays paged. */
export interface StatePiece {
  readonly name: string
  readonly bytes: number
  /** Into `into`, of its size, where that is given: then no memory is taken for it. */
  readonly read: (into?: Uint8Array) => Promise<Uint8Array>
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
  read: (into) => queue.readBytes(t, into),
  write: (bytes) => {
    queue.upload(t, bytes)
    return queue.idle()
  }
})
