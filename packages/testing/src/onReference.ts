/** Short frames for tests of core: a reference queue, a plan, gradients of a call. */
import {
  type Graph,
  type MemoryPlan,
  MetaQueue,
  type Overrides,
  oneArena,
  type Queue,
  ReferenceQueue,
  Scope,
  type Tensor
} from "@graft/core"
import { onDevice } from "./BackendUnderTest.ts"
import { forwardAndBackward, type Passes } from "./OpCase.ts"

const reference = { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) }

/** Runs `body` on a reference queue; all memory must be free at its end. */
export const onReference = <A>(body: (queue: Queue, scope: Scope) => Promise<A>, bytes?: number): Promise<A> =>
  onDevice(reference, body, bytes)

/** What `body` would take. */
export const planned = (body: (queue: MetaQueue, scope: Scope) => void): MemoryPlan => {
  const queue = new MetaQueue(oneArena("meta"))
  body(queue, new Scope(queue, "weights"))
  return queue.plan
}
/** Value and gradients of Σ f · dy with a fixed random dy. */
export const gradientsOf = (
  queue: Queue,
  inputs: ReadonlyArray<Tensor>,
  f: (g: Graph) => Tensor,
  options: { readonly overrides?: Overrides; readonly activations?: "f32" | "bf16" } = {}
): Passes => forwardAndBackward(queue, inputs, f, options)
