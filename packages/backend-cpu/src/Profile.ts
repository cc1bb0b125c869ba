/**
 * What ran on a queue and for how long: each command with the op that enqueued it, its work, and when it began and ended on
 * the queue's own thread. One profile serves the queues that are opened one after the other with it.
 */
import type { Cell, Command, Operand } from "@graft/core"
import { pairsIn, type Work, workOf } from "./workOf.ts"

export interface ProfiledCommand extends Work {
  readonly kernel: string
  /** The op of the tape that enqueued it. */
  readonly op: string
  /** The instruction set of its body, or "reference". */
  readonly implementation: string
  /** Shapes of its operands, for a trace. */
  readonly shapes: string
  /** Seconds of processor time of the thread that enqueued it: others that used the machine do not count. */
  readonly enqueuedAt: number
  /** Seconds of the queue's clock. */
  readonly begin: number
  readonly end: number
}

/** What is noted while a step is enqueued: the rest is worked out when it has run. */
interface Pending {
  readonly command: Command
  readonly op: string
  readonly implementation: string
  readonly enqueuedAt: number
  /** As they were then, where its last operand has some. */
  readonly segments: Int32Array | undefined
}

export class Profile {
  readonly commands: Array<ProfiledCommand> = []
  readonly #pending = new Map<number, Pending>()
  readonly #segments = new WeakMap<Cell, Int32Array>()
  #take: (() => Float64Array) | undefined

  enqueued(number: number, command: Command, op: string, implementation: string, enqueuedAt: number): void {
    const cell = command.operands.at(-1)?.cell
    const segments = cell === undefined ? undefined : this.#segments.get(cell)
    this.#pending.set(number, { command, op, implementation, enqueuedAt, segments })
  }
  /** Remembers the segments of attention: its work depends on their values. */
  uploaded({ cell, tensor }: Operand, bytes: Uint8Array): void {
    if (tensor.dtype === "i32" && tensor.columns === 4)
      this.#segments.set(
        cell,
        new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
      )
  }
  /** A queue opens: `take` gives (number, begin, end) in nanoseconds of what ran since the last call. Ends with the call of what it returns. */
  attach(take: () => Float64Array): () => void {
    this.#take = take
    return () => {
      this.collect()
      this.#take = undefined
      this.#pending.clear()
    }
  }
  /** Moves what has run into `commands`. */
  collect(): ReadonlyArray<ProfiledCommand> {
    const times = this.#take?.() ?? new Float64Array(0)
    for (let i = 0; i + 2 < times.length; i += 3) {
      const known = this.#pending.get(times[i]!)
      this.#pending.delete(times[i]!)
      if (known === undefined) continue
      const { command, op, implementation, enqueuedAt, segments } = known
      this.commands.push({
        kernel: command.kernel.name,
        op,
        implementation,
        shapes: command.operands.map(({ tensor }) => `${tensor.dtype}[${tensor.shape}]`).join(" "),
        enqueuedAt,
        begin: times[i + 1]! / 1e9,
        end: times[i + 2]! / 1e9,
        ...workOf(command, (window) => (segments === undefined ? 0 : pairsIn(segments, window)))
      })
    }
    return this.commands
  }
}
