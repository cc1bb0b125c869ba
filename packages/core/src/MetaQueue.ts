/**
 * The meta backend runs nothing: the same checks and the same allocator, so a pass over it is the memory plan and the list
 * of ops of a step. `limits` come from the device that will run the program, else the offsets would differ.
 */
import type { Category } from "./Allocator.ts"
import { type Command, type Limits, Queue } from "./Queue.ts"

export interface MemoryPlan {
  /** What to reserve in each arena, fragmentation included. */
  readonly arenaBytes: ReadonlyArray<number>
  /** The sum of the arenas and of what the device takes for itself. */
  readonly peakBytes: number
  readonly fixedBytes: number
  /** What is live, by category, at the moment of the highest sum. */
  readonly atPeak: ReadonlyMap<Category, number>
  /** The highest of each category, each at its own moment. */
  readonly byCategory: ReadonlyMap<Category, number>
}

export class MetaQueue extends Queue {
  /** The names of the ops, in order. */
  readonly ops: Array<string> = []
  constructor(limits: Limits) {
    super(Array<number>(limits.arenas).fill(Number.MAX_SAFE_INTEGER), limits)
  }
  protected submit(command: Command): void {
    this.ops.push(command.kernel.name)
  }
  protected copyIn(): void {
    this.ops.push("upload")
  }
  protected copyOut(): Promise<void> {
    return Promise.reject(new ReferenceError("read: the meta backend has no values"))
  }
  idle(): Promise<void> {
    return Promise.resolve()
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
  cancel(): void {}
  atomic(body: () => void): void {
    body()
  }
  get progress() {
    return { submitted: this.ops.length, completed: this.ops.length }
  }
  get plan(): MemoryPlan {
    const { peaks, atPeak, peakByCategory } = this.allocator
    const { fixedBytes } = this.limits
    return {
      arenaBytes: peaks,
      peakBytes: fixedBytes + peaks.reduce((a, b) => a + b, 0),
      fixedBytes,
      atPeak: new Map(atPeak),
      byCategory: new Map(peakByCategory)
    }
  }
}
