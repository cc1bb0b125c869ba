/**
 * Graft's queue over TensorFlow.js. A cell holds one tensor, or nothing until it is first written; since tensors never change,
 * a kernel puts a new one into the cells of its outputs, and a read keeps the tensor that stood there. Ops run in slices, so
 * that the event loop has its turns.
 */
import {
  Cancelled,
  type Cell,
  type Command,
  DeviceFault,
  type Limits,
  type Operand,
  Queue,
  runReference
} from "@graft/core"
import { bodyOf } from "./bodyOf.ts"
import { type Body, type Call, isParts, type Parts } from "./Call.ts"
import { accessors, completed } from "./plan.ts"
import { roundToBf16 } from "./rounding.ts"
import { heldAs, heldSize, hold, release } from "./storage.ts"
import { type Device, deviceOf, type Tensor, type TensorFlow } from "./TensorFlow.ts"

interface Entry {
  /** A promise where the device must be waited for. */
  readonly run: () => Promise<void> | void
  readonly drop: () => void
  readonly commands: number
}
/** Milliseconds of work before the event loop gets a turn. */
const SLICE = 8
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))
const isShape = ({ shape }: Tensor, wanted: ReadonlyArray<number>): boolean =>
  shape.length === wanted.length && shape.every((side, i) => side === wanted[i])

export class TfjsQueue extends Queue {
  readonly #module: TensorFlow
  readonly #tf: Device
  readonly #backend: string
  readonly #values = new Map<Cell, Tensor>()
  /** i32 tensors as they were uploaded: segments, ids and row keys decide what is run. */
  readonly #integers = new Map<Cell, Int32Array>()
  readonly #constants = new Map<string, Tensor>()
  #pending: Array<Entry> = []
  #next = 0
  #dropUntil = 0
  #scheduled = false
  #closed = false
  #fault: DeviceFault | undefined
  #submitted = 0
  #completed = 0
  /** Kernels that ran their slow body on host memory, for want of one in tfjs ops. */
  readonly byReference = new Set<string>()

  /** Called after each kernel with the milliseconds that the host was busy with it: for benches. */
  readonly #timed: ((kernel: string, milliseconds: number) => void) | undefined

  constructor(
    tf: TensorFlow,
    arenaBytes: ReadonlyArray<number>,
    limits: Limits,
    timed?: (kernel: string, milliseconds: number) => void
  ) {
    super(arenaBytes, limits)
    this.#timed = timed
    this.#module = tf
    this.#backend = tf.getBackend()
    this.#tf = deviceOf(tf, this.#backend)
  }

  protected submit(command: Command): void {
    this.#push(() => (this.#fault === undefined ? this.#run(command) : undefined))
  }
  /** A promise where the event loop has turns, or the device must be waited for. What fails sticks to the queue. */
  #run(command: Command): Promise<void> | undefined {
    const { name } = command.kernel
    const began = performance.now()
    const done = (): undefined => {
      this.#timed?.(name, performance.now() - began)
    }
    const fail = (cause: unknown): undefined => {
      this.#fault = new DeviceFault(name, cause)
    }
    try {
      const waiting = this.#start(command)
      if (waiting !== undefined) return waiting.then(done, fail)
      return done()
    } catch (cause) {
      return fail(cause)
    }
  }
  #start(command: Command): Promise<void> | undefined {
    const { kernel, operands } = command
    const body = bodyOf(kernel)
    if (body === undefined) return this.#runReference(command)
    const missing = operands.filter(
      ({ cell, tensor }, i) => i >= kernel.outputs && tensor.dtype === "i32" && !this.#integers.has(cell)
    )
    return missing.length === 0
      ? this.#runBody(command, body)
      : this.#fetch(missing).then(() => this.#runBody(command, body))
  }
  /** At once, or in parts with turns of the event loop between them. */
  #runBody(command: Command, body: Body): Promise<void> | undefined {
    const tf = this.#tf
    const call = this.#callOf(command)
    const put = (make: () => ReadonlyArray<Tensor>): void => {
      const results = tf.tidy(() =>
        make().map((t, i) => {
          const { dtype, rows, columns } = command.operands[i]!.tensor
          const rounded = dtype === "bf16" ? roundToBf16(tf, t) : t
          const own = command.operands.every(({ cell }) => this.#values.get(cell) !== rounded)
          return tf.keep(own && isShape(rounded, [rows, columns]) ? rounded : tf.reshape(rounded, [rows, columns]))
        })
      )
      for (const [i, t] of results.entries()) this.#put(command.operands[i]!.cell, t)
    }
    let later: Parts<Tensor> | undefined
    put(() => {
      const made = body(call)
      if (!isParts(made)) return made
      if (made.parts.length < 2) return made.join(made.parts.map((part) => tf.tidy(part)))
      later = made
      return []
    })
    return later === undefined ? undefined : this.#runParts(later, put)
  }
  async #runParts({ parts, join }: Parts<Tensor>, put: (make: () => ReadonlyArray<Tensor>) => void): Promise<void> {
    const tf = this.#tf
    const made: Array<ReadonlyArray<Tensor>> = []
    let until = performance.now() + SLICE
    try {
      for (const part of parts) {
        made.push(tf.tidy(() => part().map((t) => tf.keep(t))))
        if (performance.now() < until) continue
        await turn()
        await this.#useBackend()
        until = performance.now() + SLICE
      }
      put(() => join(made))
    } finally {
      for (const t of made.flat()) t.dispose()
    }
  }
  #callOf({ operands, params }: Command): Call<Tensor> {
    const tf = this.#tf
    return {
      tf,
      ...accessors(params),
      shapes: operands.map(({ tensor }) => tensor.shape),
      at: (i, shape) => {
        const { cell, tensor } = operands[i]!
        const { dtype, size, rows, columns } = tensor
        const wanted = completed(shape ?? [rows, columns], heldSize(size, dtype))
        const value = this.#values.get(cell)
        if (value === undefined) return tf.fill(wanted, Number.NaN, "float32")
        return isShape(value, wanted) ? value : tf.reshape(value, wanted)
      },
      integers: (i) => this.#integers.get(operands[i]!.cell)!, // fetched before
      upload: (make, shape, numbers = "float32") => tf.tensor(make(), shape, numbers),
      constant: (name, make, shape) => this.#constant(name, make, shape)
    }
  }
  #constant(name: string, make: () => Float32Array, shape: Array<number>): Tensor {
    const known = this.#constants.get(name)
    if (known !== undefined) return known
    const made = this.#tf.keep(this.#tf.tensor(make(), shape, "float32"))
    this.#constants.set(name, made)
    return made
  }
  /** Integers that were computed here: the host must wait for them once. */
  async #fetch(operands: ReadonlyArray<Operand>): Promise<void> {
    for (const { cell } of operands) {
      this.#integers.set(cell, Int32Array.from((await this.#values.get(cell)?.data()) ?? []))
    }
  }
  async #runReference(command: Command): Promise<void> {
    const { kernel, operands, workspace } = command
    this.byReference.add(kernel.name)
    const host = new Map<Cell, Uint8Array>()
    for (const { cell, tensor } of operands) {
      if (host.has(cell)) continue
      const values = await this.#values.get(cell)?.data()
      const bytes = values === undefined ? undefined : release(values, tensor.size, tensor.dtype)
      host.set(cell, bytes ?? new Uint8Array(tensor.bytes).fill(0xff)) // NaN, where nothing was written
    }
    if (workspace !== undefined) host.set(workspace, new Uint8Array(workspace.bytes))
    runReference(command, (cell) => host.get(cell)!)
    for (const operand of operands.slice(0, kernel.outputs)) this.#set(operand, host.get(operand.cell)!)
  }
  #put(cell: Cell, t: Tensor): void {
    this.#values.get(cell)?.dispose()
    this.#values.set(cell, t)
    this.#integers.delete(cell)
  }
  #set({ cell, tensor: { rows, columns, dtype } }: Operand, bytes: Uint8Array): void {
    const values = hold(bytes, dtype)
    const packed = dtype === "u8" || dtype === "i8"
    this.#put(cell, this.#tf.tensor(values, packed ? [values.length] : [rows, columns], heldAs(dtype)))
    if (values instanceof Int32Array) this.#integers.set(cell, values)
  }
  protected copyIn(operand: Operand, source: () => Uint8Array): void {
    const bytes = source().slice()
    this.#push(() => this.#set(operand, bytes))
  }
  protected copyOut({ cell, tensor: { size, dtype } }: Operand, into: Uint8Array): Promise<void> {
    return this.#wait(async () => {
      const value = this.#values.get(cell)
      if (value === undefined) {
        into.fill(0xff) // what would have written it was cancelled
        return
      }
      const kept = this.#tf.keep(this.#tf.reshape(value, [...value.shape]))
      try {
        into.set(release(await kept.data(), size, dtype).subarray(0, into.byteLength))
      } finally {
        kept.dispose()
      }
    })
  }
  override free(cell: Cell): void {
    super.free(cell)
    if (this.#closed) return
    const forget = () => {
      this.#values.get(cell)?.dispose()
      this.#values.delete(cell)
      this.#integers.delete(cell)
    }
    this.#push(forget, forget)
  }
  idle(): Promise<void> {
    return this.#wait(async () => {})
  }
  async close(): Promise<void> {
    const drained = new Promise<void>((resolve) => this.#push(resolve, resolve))
    this.#closed = true
    await drained
    for (const t of [...this.#values.values(), ...this.#constants.values()]) t.dispose()
    this.#values.clear()
    this.#constants.clear()
    this.#integers.clear()
  }
  cancel(): void {
    this.#dropUntil = this.#pending.length
  }
  atomic(body: () => void): void {
    const outer = this.#pending
    const group: Array<Entry> = []
    this.#pending = group
    try {
      body()
    } finally {
      this.#pending = outer
      this.#enter({
        run: async () => {
          for (const { run } of group) {
            const waiting = run()
            if (waiting !== undefined) await waiting
          }
        },
        drop: () => {
          for (const { drop } of group) drop()
        },
        commands: group.reduce((n, { commands }) => n + commands, 0)
      })
    }
  }
  get progress() {
    return { submitted: this.#submitted, completed: this.#completed }
  }
  /** The values are taken in the queue's order, and their arrival is not waited for there. */
  #wait<A>(take: () => Promise<A>): Promise<A> {
    return new Promise((resolve, reject) =>
      this.#push(
        () => {
          if (this.#fault === undefined) take().then(resolve, reject)
          else reject(this.#fault)
        },
        () => reject(new Cancelled())
      )
    )
  }
  #push(run: () => Promise<void> | void, drop: () => void = () => {}): void {
    if (this.#closed) throw new ReferenceError("the queue is closed")
    this.#submitted++
    this.#enter({ run, drop, commands: 1 })
  }
  #enter(entry: Entry): void {
    this.#pending.push(entry)
    if (this.#scheduled) return
    this.#scheduled = true
    setTimeout(this.#pump, 0)
  }
  /** Another queue may have its own. */
  async #useBackend(): Promise<void> {
    if (this.#module.getBackend() !== this.#backend) await this.#module.setBackend(this.#backend)
  }
  #pump = async (): Promise<void> => {
    const until = performance.now() + SLICE
    await this.#useBackend()
    while (this.#next < this.#pending.length && performance.now() < until) {
      const { run, drop, commands } = this.#pending[this.#next]!
      if (this.#next < this.#dropUntil) drop()
      else {
        const waiting = run()
        if (waiting !== undefined) await waiting
      }
      this.#next++
      this.#completed += commands
    }
    this.#pending.splice(0, this.#next) // now: a queue that is never empty would grow for ever
    this.#dropUntil = Math.max(0, this.#dropUntil - this.#next)
    this.#next = 0
    this.#scheduled = this.#pending.length > 0
    if (this.#scheduled) setTimeout(this.#pump, 0)
  }
}
