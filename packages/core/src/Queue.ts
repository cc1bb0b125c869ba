/**
 * A backend is an ordered queue, as a GPU's is. `enqueue` checks (shape, dtype, liveness, memory), allocates workspace and
 * returns; the arithmetic happens later, in order; reading back is the only wait. Errors that the program could have known
 * are thrown at enqueue; errors of the outside world stick, and the next read reports them with the name of the op.
 */
import { Allocator, type ArenaLayout, type Category, type Cell } from "./Allocator.ts"
import { type Admitted, admits, type DType } from "./dtype.ts"
import { narrow, widen } from "./reference/conversion.ts"
import type { Tensor } from "./Tensor.ts"
import type { SourceTensor } from "./TensorSource.ts"

/** bf16 and f16 operands reach a reference body widened to f32. */
export type View = Float32Array | Int32Array | Int8Array | Uint8Array
/** What a kernel is told besides its operands. */
export type Params<P> = { readonly [K in keyof P]: number | boolean }

/** One unit of work. Operands come outputs first (llm.c's order). A native backend finds its own body by `name`. */
export interface Kernel<P> {
  readonly name: string
  /** The first `outputs` operands are written. */
  readonly outputs: number
  /** The names of the parameters in the order in which a native body gets them. */
  readonly fields: ReadonlyArray<keyof P & string>
  /** The dtypes of its operands; those beyond the list may have any. */
  readonly dtypes?: ReadonlyArray<Admitted>
  /** Outputs that are read too, whatever `params.accumulate` says. */
  readonly inPlace?: ReadonlyArray<number>
  /** What is wrong with these operands, if anything. */
  readonly check?: (operands: ReadonlyArray<Tensor>, params: P) => string | undefined | false
  /** Scratch memory, from shapes alone: the plan asks too. */
  readonly workspaceBytes?: (operands: ReadonlyArray<Tensor>, params: P) => number
  /** The slow, obvious body. It neither throws nor allocates. */
  readonly reference: (views: ReadonlyArray<View>, params: P, workspace: Float32Array) => void
}

/** A kernel with its operands, bound to memory: what a backend runs. */
export interface Command {
  readonly kernel: Kernel<never>
  readonly operands: ReadonlyArray<Operand>
  readonly params: unknown
  readonly workspace: Cell | undefined
}
/** An operand as it stood when enqueued: a tensor that streams may have moved when the command runs. */
export interface Operand {
  readonly cell: Cell
  readonly byteOffset: number
  readonly tensor: Tensor
}
/** Deferred host data: asked once, when enqueued, and copied; the meta backend never asks. A Uint8Array is raw bytes. */
export type Source = () => ArrayLike<number> | Uint8Array

/** What a plan must know of a device. */
export interface Limits extends ArenaLayout {
  readonly device: string
  /** Whether a kernel's operand may be a part of a larger buffer. */
  readonly views: boolean
  /** Memory that the device takes for itself, whatever the program: thread scratch and the like. */
  readonly fixedBytes: number
  /** What `size` numbers take, where a dtype does not lie there in its own bytes. */
  readonly heldBytes?: (size: number, dtype: DType) => number
  /** Scratch memory that its body of a kernel takes, where this is more than the kernel declares. */
  readonly workspaceBytes?: (kernel: Kernel<never>, operands: ReadonlyArray<Tensor>, params: unknown) => number
}
export const oneArena = (device: string, alignment = 64): Limits => ({
  device,
  alignment,
  maxBufferBytes: Number.MAX_SAFE_INTEGER,
  arenas: 1,
  arenaOf: () => 0,
  views: true,
  fixedBytes: 0
})

export abstract class Queue {
  readonly limits: Limits
  readonly allocator: Allocator
  /** What enqueues now, for profiles: an op of the tape, or a name that its caller gives. */
  origin = ""
  #muted = false
  constructor(capacities: ReadonlyArray<number>, limits: Limits) {
    this.limits = limits
    this.allocator = new Allocator(capacities, limits)
  }

  /** Puts a command at the end of the queue. */
  protected abstract submit(command: Command): void
  /** Copies now; the bytes land in order. */
  protected abstract copyIn(operand: Operand, bytes: () => Uint8Array): void
  /** Waits for everything before it; `into` gets so many of its first raw bytes as they are at this point of the program. */
  protected abstract copyOut(operand: Operand, into: Uint8Array): Promise<void>
  /** Resolves when everything enqueued so far has run; rejects with the fault. For back-pressure while loading. */
  abstract idle(): Promise<void>
  /** Drains, then frees. Nothing may be enqueued afterwards. */
  abstract close(): Promise<void>
  /** Drops what is queued and not begun; reads among it fail. What is enqueued later runs. */
  abstract cancel(): void
  /** What `body` enqueues is one command to `cancel`: the optimiser's commit happens whole or not at all. */
  abstract atomic(body: () => void): void
  /** Commands enqueued and run, for progress within a step. */
  abstract get progress(): { readonly submitted: number; readonly completed: number }
  /** What has run since it was last asked, each op with a 64-bit hash of its outputs; nothing where none are kept. */
  get flight(): ReadonlyArray<readonly [op: string, hash: string]> {
    return []
  }
  /** Brings native bodies of a plug-in's kernels from a shared library, where the backend runs such. */
  useLibrary(_path: string): void {}
  /** Tells a backend that the contents of a new cell are undefined; the reference backend fills it with NaN. */
  protected poison(_cell: Cell): void {}

  get muted(): boolean {
    return this.#muted
  }
  /** Runs `body` for its shapes only: tensors made are ghosts, commands are checked and dropped. */
  mute<A>(body: () => A): A {
    const before = this.#muted
    this.#muted = true
    try {
      return body()
    } finally {
      this.#muted = before
    }
  }
  allocate(bytes: number, category: Category): Cell {
    const cell = this.allocator.allocate(bytes, category)
    this.poison(cell)
    return cell
  }
  free(cell: Cell): void {
    this.allocator.free(cell)
  }

  enqueue<P>(kernel: Kernel<P>, operands: ReadonlyArray<Tensor>, params: P): void {
    const problem = dtypeProblem(kernel.dtypes ?? [], operands) ?? kernel.check?.(operands, params)
    if (problem)
      throw new TypeError(
        `${kernel.name}: ${problem}; operands ${operands.map((t) => `${t.name} ${t.dtype}[${t.shape}]`).join(", ")}`
      )
    if (this.#muted) return
    const accumulate = (params as { accumulate?: boolean } | null)?.accumulate === true // P may lack it
    const bound = operands.map((t, i) =>
      this.#bind(kernel.name, t, i >= kernel.outputs || accumulate || kernel.inPlace?.includes(i) === true)
    )
    for (const { cell } of bound.slice(0, kernel.outputs)) cell.written = true
    const scratchBytes = Math.max(
      kernel.workspaceBytes?.(operands, params) ?? 0,
      this.limits.workspaceBytes?.(kernel as Kernel<never>, operands, params) ?? 0 // it reads params by `fields`
    )
    const workspace = scratchBytes > 0 ? this.allocate(scratchBytes, "workspace") : undefined
    this.submit({ kernel: kernel as Kernel<never>, operands: bound, params, workspace }) // a backend reads params by `fields`
    if (workspace !== undefined) this.free(workspace) // stream-ordered: the next op may have it
  }
  upload(t: Tensor, source: Source): void {
    if (this.#muted) return
    const operand = this.#bind("upload", t, false)
    operand.cell.written = true
    this.copyIn(operand, () => {
      const values = source()
      const bytes = values instanceof Uint8Array ? values : narrow(values, t.dtype)
      if (bytes.byteLength !== t.bytes)
        throw new RangeError(`upload: ${t.name} ${t.dtype}[${t.shape}] has ${t.bytes} bytes, got ${bytes.byteLength}`)
      return bytes
    })
  }
  /** Uploads a tensor of a file; a backend that can read files itself overrides this. */
  uploadSource(t: Tensor, source: SourceTensor): void {
    if (this.#muted) t.source = source
    else this.upload(t, source.read)
  }
  /** The values of a float tensor (i32, i8, u8 too) as f32, at this point of the program. */
  async read(t: Tensor): Promise<Float32Array> {
    const bytes = await this.readBytes(t)
    return t.dtype === "f32" ? new Float32Array(bytes.buffer) : widen(bytes, t.dtype)
  }
  /** Into `into` where that is given: as many of the first bytes as it has room for. Nobody may touch it until they are there. */
  async readBytes(t: Tensor, into: Uint8Array = new Uint8Array(t.bytes)): Promise<Uint8Array> {
    await this.copyOut(this.#bind("read", t, true), into)
    return into
  }

  #bind(op: string, tensor: Tensor, read: boolean): Operand {
    const { cell, state, name } = tensor
    if (state === "live" && cell?.live && (!read || cell.written))
      return { cell, byteOffset: tensor.byteOffset, tensor }
    const why =
      state === "evicted"
        ? "is not resident: use it between enter and leave of its layer"
        : state === "ghost"
          ? "was never computed (internal: the recomputation plan is wrong)"
          : cell === undefined || state === "freed" || !cell.live
            ? "was freed: move it to an outer scope, or use it earlier"
            : "is read before anything was written to it"
    throw new ReferenceError(`${op}: ${name} ${why}`)
  }
}

/** The high-water mark of a queue: its arenas and what the device took for itself. */
export const totalPeak = ({ limits, allocator }: Queue): number =>
  allocator.peaks.reduce((sum, bytes) => sum + bytes, limits.fixedBytes)

const dtypeProblem = (dtypes: ReadonlyArray<Admitted>, operands: ReadonlyArray<Tensor>): string | undefined => {
  const at = dtypes.findIndex((kind, i) => operands[i] === undefined || !admits(kind, operands[i].dtype))
  return at < 0 ? undefined : `operand ${at} is not ${dtypes[at]}`
}
/** An error of the outside world while an op ran: I/O, a spill, a broken kernel. It sticks to its queue. */
export class DeviceFault extends Error {
  readonly op: string
  constructor(op: string, cause: unknown) {
    super(`${op}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.op = op
  }
}
/** A read that was dropped by `cancel`. Not a fault: later reads work. */
export class Cancelled extends Error {
  constructor() {
    super("cancelled")
  }
}
