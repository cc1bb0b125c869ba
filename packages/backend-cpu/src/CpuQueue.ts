/**
 * The native CPU as an ordered queue: commands go to the library's own threads as numbers, so the event loop lives through
 * a step of a minute. A kernel without a native body runs its reference body in JavaScript, in its turn, over the same
 * memory: a plug-in needs no C++ to work here.
 */
import { existsSync } from "node:fs"
import {
  Cancelled,
  type Cell,
  type Command,
  DeviceFault,
  type DType,
  type Kernel,
  type Limits,
  type Operand,
  Queue,
  runReference,
  type SourceTensor,
  type Tensor
} from "@graft/core"
import type { Native, NativeFault, NativeHandle } from "./native.ts"
import type { Profile } from "./Profile.ts"

export const dtypeCodes: Readonly<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2, i32: 3, i8: 4, u8: 5 }

/** Loaded by this process: a library's kernels hold for all queues. */
const libraries = new Set<string>()

export interface CpuQueueOptions {
  readonly threads: number
  readonly isa: string
  /** Keep a hash of each op's outputs. */
  readonly record?: boolean
  /** Is told of each command and when it ran. */
  readonly profile?: Profile
}

export class CpuQueue extends Queue {
  readonly #native: Native
  readonly #handle: NativeHandle
  readonly #isa: string
  readonly #profile: Profile | undefined
  readonly #endProfile: (() => void) | undefined
  readonly #ids = new Map<Kernel<never>, number>()
  /** Commands whose body runs in JavaScript, until their turn has come. */
  readonly #host = new Map<number, Command>()
  #tokens = 0
  #numbers = new Float64Array(256)

  constructor(native: Native, arenaBytes: ReadonlyArray<number>, limits: Limits, options: CpuQueueOptions) {
    super(arenaBytes, limits)
    this.#native = native
    this.#isa = options.isa
    this.#handle = native.open({
      threads: options.threads,
      arenas: arenaBytes,
      isa: options.isa,
      onHost: (token, run) => this.#runHost(token, run)
    })
    if (options.record === true) native.record(this.#handle, true)
    this.#profile = options.profile
    if (this.#profile !== undefined) native.time(this.#handle, true)
    this.#endProfile = this.#profile?.attach(() => new Float64Array(native.times(this.#handle)))
  }

  /** Absent where it was not built: then the reference bodies run. */
  override useLibrary(path: string): void {
    if (libraries.has(path) || !existsSync(path)) return
    this.#native.loadPlugin(path)
    libraries.add(path)
    for (const [kernel, id] of this.#ids) if (id < 0) this.#ids.delete(kernel)
  }

  protected submit(command: Command): void {
    const { kernel } = command
    let id = this.#ids.get(kernel)
    if (id === undefined) {
      id = this.#native.kernel(kernel.name, kernel.fields, kernel.outputs, this.#isa)
      this.#ids.set(kernel, id)
    }
    const runsAs = id >= 0 ? this.#isa : "reference"
    this.#profile?.enqueued(this.progress.submitted, command, this.origin, runsAs, this.#native.threadSeconds())
    const length = this.#encode(id, command)
    if (id >= 0) this.#native.enqueue(this.#handle, this.#numbers, length)
    else {
      const token = this.#tokens++
      this.#host.set(token, command)
      this.#native.enqueueHost(this.#handle, kernel.name, token, kernel.outputs, this.#numbers, length)
    }
  }

  /** The layout is that of native.ts, `Native.enqueue`. */
  #encode(id: number, { kernel, operands, params, workspace }: Command): number {
    const { fields } = kernel
    const length = 5 + 8 * operands.length + fields.length
    if (length > this.#numbers.length) this.#numbers = new Float64Array(2 * length)
    const numbers = this.#numbers
    numbers[0] = id
    numbers[1] = operands.length
    let at = 2
    for (const { cell, byteOffset, tensor } of operands) {
      const { shape } = tensor
      numbers[at++] = cell.arena
      numbers[at++] = byteOffset
      numbers[at++] = dtypeCodes[tensor.dtype]
      numbers[at++] = shape.length
      for (let d = 0; d < 4; d++) numbers[at++] = shape[d] ?? 1
    }
    numbers[at++] = workspace?.arena ?? -1
    numbers[at++] = workspace?.offset ?? 0
    numbers[at++] = fields.length
    const values = params as Readonly<Record<string, number | boolean>> // by the kernel's own field names
    for (const field of fields) numbers[at++] = Number(values[field])
    return at
  }

  #runHost(token: number, run: boolean): void {
    const command = this.#host.get(token)
    this.#host.delete(token)
    if (!run || command === undefined) return
    runReference(command, this.#view)
    this.#native.hostDone(this.#handle, token)
  }
  #view = ({ arena }: Cell, offset: number, bytes: number): Uint8Array =>
    bytes === 0 ? new Uint8Array(0) : new Uint8Array(this.#native.view(this.#handle, arena, offset, bytes))

  protected copyIn(operand: Operand, bytes: () => Uint8Array): void {
    const { cell, byteOffset } = operand
    const values = bytes()
    this.#profile?.uploaded(operand, values)
    this.#native.upload(this.#handle, cell.arena, byteOffset, values)
  }
  override uploadSource(t: Tensor, source: SourceTensor): void {
    const { file } = source
    const { cell } = t
    if (file === undefined || this.muted || cell === undefined || !cell.live || file.bytes !== t.bytes) {
      super.uploadSource(t, source)
      return
    }
    cell.written = true
    this.#native.uploadFile(this.#handle, cell.arena, t.byteOffset, file.path, file.offset, file.bytes)
  }
  protected copyOut({ cell, byteOffset }: Operand, into: Uint8Array): Promise<void> {
    return this.#wait(this.#native.readInto(this.#handle, cell.arena, byteOffset, into))
  }
  async idle(): Promise<void> {
    await this.#wait(this.#native.read(this.#handle, 0, 0, 0))
  }
  cancel(): void {
    this.#native.cancel(this.#handle)
  }
  atomic(body: () => void): void {
    this.#native.atomicBegin(this.#handle)
    try {
      body()
    } finally {
      this.#native.atomicEnd(this.#handle)
    }
  }
  async close(): Promise<void> {
    if (this.#endProfile !== undefined) {
      await this.idle().catch(() => {}) // a fault: what ran before it counts
      this.#endProfile()
    }
    await this.#native.close(this.#handle)
  }
  get progress() {
    const [submitted, completed] = this.#native.progress(this.#handle)
    return { submitted, completed }
  }
  /** Whether a kernel has a native body, by name: for reports. */
  get hostKernels(): ReadonlyArray<string> {
    return [...this.#ids].filter(([, id]) => id < 0).map(([kernel]) => kernel.name)
  }
  /** What was recorded since the last call. */
  override get flight(): ReadonlyArray<readonly [op: string, hash: string]> {
    return this.#native.flight(this.#handle)
  }

  async #wait<A>(read: Promise<A>): Promise<A> {
    try {
      return await read
    } catch (cause) {
      const { code, op } = cause as Partial<NativeFault> // anything else has neither
      if (code === "GRAFT_CANCELLED") throw new Cancelled()
      throw code === "GRAFT_FAULT" ? new DeviceFault(op ?? "queue", stripped(cause, op)) : cause
    }
  }
}
/** The library puts the op's name before its message, and so does DeviceFault. */
const stripped = (cause: unknown, op: string | undefined): Error => {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new Error(op !== undefined && message.startsWith(`${op}: `) ? message.slice(op.length + 2) : message, {
    cause
  })
}
