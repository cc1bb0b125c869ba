/** What the suites must know of a backend, and the frame in which every test uses one. */
import assert from "node:assert/strict"
import { type DType, type Limits, type Queue, Scope } from "@graft/core"

export type Open = (arenaBytes: ReadonlyArray<number>) => Queue | Promise<Queue>
/** The flight recorder's list: an op and a hash of its outputs, in order. */
export type Flight = ReadonlyArray<readonly [op: string, hash: string]>

export interface BackendUnderTest {
  /** As a plan would use them. */
  readonly limits: Limits
  readonly open: Open
  /** Storage dtypes that it has not; left out: it has all. */
  readonly lacks?: ReadonlyArray<DType>
  /** Other ways to open it, by name, that must give the same bits: numbers of threads. */
  readonly alike?: Readonly<Record<string, Open>>
  /** A queue that records, and what it has recorded when it is idle. */
  readonly record?: (
    arenaBytes: ReadonlyArray<number>
  ) => Promise<{ readonly queue: Queue; readonly flight: () => Flight | Promise<Flight> }>
  /** Largest difference from the reference, as a share of the largest value: 1e-5 with f32 operands, 1/128 with others. */
  readonly tolerance?: { readonly f32: number; readonly rounded: number }
}
export const hasDType = ({ lacks = [] }: BackendUnderTest, dtype: DType): boolean => !lacks.includes(dtype)

export const MiB = 2 ** 20

/** The same size for each arena of a device. */
export const arenasOf = (limits: Limits, bytes: number): ReadonlyArray<number> =>
  Array<number>(limits.arenas).fill(bytes)

/** Runs `body` on a fresh queue; then all memory must be free again, and the queue is closed. */
export const onDevice = async <A>(
  { open, limits }: Pick<BackendUnderTest, "open" | "limits">,
  body: (queue: Queue, scope: Scope) => Promise<A>,
  bytes = 16 * MiB
): Promise<A> => {
  const queue = await open(arenasOf(limits, bytes))
  const scope = new Scope(queue, "weights")
  let result: A
  try {
    result = await body(queue, scope)
  } catch (e) {
    await queue.close()
    throw e
  }
  scope[Symbol.dispose]()
  const { liveBytes } = queue.allocator
  await queue.close()
  assert.equal(liveBytes, 0, "bytes are live although every scope is closed")
  return result
}
