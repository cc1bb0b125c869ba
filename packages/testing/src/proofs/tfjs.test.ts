/**
 * A proof that a backend of another kind fits the contract: TensorFlow.js, whose buffers are opaque and have no parts. Some
 * kernels are its own ops; the others read their operands back and run core's reference bodies.
 */
import assert from "node:assert/strict"
import test from "node:test"
import {
  bytesOf,
  Cancelled,
  type Cell,
  type Command,
  DeviceFault,
  type DType,
  type Limits,
  type Operand,
  oneArena,
  Queue,
  runReference,
  sizeOf
} from "@graft/core"
import * as tf from "@tensorflow/tfjs-core"
import "@tensorflow/tfjs-backend-cpu"
import { testBackend } from "../testBackend.ts"

const limits: Limits = { ...oneArena("tfjs cpu", 4), views: false }
/** The storage dtypes that it has. */
const tfDType = (dtype: DType): "float32" | "int32" => {
  if (dtype === "f32") return "float32"
  if (dtype === "i32") return "int32"
  throw new TypeError(`tfjs has no ${dtype}`)
}

type Inputs = ReadonlyArray<tf.Tensor>
/** A kernel as ops of tfjs: the new values of its outputs, or undefined where it does not cover the call. */
type Body = (
  inputs: Inputs,
  params: Readonly<Record<string, number | boolean>>,
  command: Command
) => ReadonlyArray<tf.Tensor> | undefined
const whole = ({
  accumulate,
  xRow = 0,
  yRow = 0,
  outRow = 0,
  aRow = 0,
  bRow = 0
}: Readonly<Record<string, number | boolean>>) =>
  [xRow, yRow, outRow, aRow, bRow].every((row) => row === 0) && accumulate !== true
const rowsOf = ({ operands }: Command, i: number): number => operands[i]!.tensor.rows
const matrix = (t: tf.Tensor): tf.Tensor2D => t as tf.Tensor2D // its rank is checked by the caller
const bodies: Readonly<Record<string, Body>> = {
  fill: (_, { value }, { operands: [out] }) => [
    tf.fill([...out!.tensor.shape], Number(value), tfDType(out!.tensor.dtype))
  ],
  add: ([, a, b], { scale }) => [tf.add(a!, tf.mul(b!, Number(scale)))],
  addScaled: ([, x], p, command) =>
    whole(p) && p["rows"] === rowsOf(command, 0) && p["rows"] === rowsOf(command, 1)
      ? [tf.mul(x!, Number(p["scale"]))]
      : undefined,
  gemm: ([, a, b], p, command) =>
    whole(p) &&
    p["m"] === rowsOf(command, 0) &&
    rowsOf(command, 1) === p[p["ta"] ? "k" : "m"] &&
    rowsOf(command, 2) === p[p["tb"] ? "n" : "k"]
      ? [tf.mul(tf.matMul(matrix(a!), matrix(b!), p["ta"] === true, p["tb"] === true), Number(p["scale"]))]
      : undefined,
  "dense.apply": ([, x, w], p, command) =>
    whole(p) && p["rows"] === rowsOf(command, 1) && p["rows"] === rowsOf(command, 0)
      ? [tf.matMul(matrix(x!), matrix(w!), false, true)]
      : undefined,
  "dense.applyTransposed": ([, dy, w], p, command) =>
    whole(p) && p["rows"] === rowsOf(command, 1) && p["rows"] === rowsOf(command, 0)
      ? [tf.matMul(matrix(dy!), matrix(w!))]
      : undefined,
  "dense.gatherRows": ([, ids, w]) => [tf.gather(matrix(w!), ids as tf.Tensor1D)],
  swiglu: ([, gate, up]) => [tf.mul(tf.mul(gate!, tf.sigmoid(gate!)), up!)],
  rmsNorm: ([, x, w], { epsilon }) => [
    tf.mul(tf.mul(x!, tf.rsqrt(tf.add(tf.mean(tf.square(x!), -1, true), Number(epsilon)))), w!)
  ]
}

class TfjsQueue extends Queue {
  readonly #values = new Map<Cell, tf.Tensor>()
  #pending: Array<{ readonly run: () => void; readonly drop: () => void; readonly commands: number }> = []
  #scheduled = false
  #closed = false
  #fault: DeviceFault | undefined
  #submitted = 0
  #completed = 0
  readonly used: Set<string>
  constructor(capacities: ReadonlyArray<number>, used: Set<string>) {
    super(capacities, limits)
    this.used = used
  }

  protected submit(command: Command): void {
    const { kernel, operands } = command
    this.#push(() => {
      if (this.#fault !== undefined) return
      try {
        const results = tf.tidy(() => this.#asOps(command)?.map((t) => tf.keep(t)))
        if (results === undefined) this.#asReference(command)
        else
          for (const [i, t] of results.entries())
            this.#put(operands[i]!.cell, tf.reshape(t, [...operands[i]!.tensor.shape]))
        this.used.add(`${kernel.name}${results === undefined ? " by reference" : ""}`)
        for (const t of results ?? []) t.dispose()
      } catch (cause) {
        this.#fault = new DeviceFault(kernel.name, cause)
      }
    })
  }
  #asOps(command: Command): ReadonlyArray<tf.Tensor> | undefined {
    const { kernel, operands, params } = command
    const body = bodies[kernel.name]
    const inputs = operands.map(({ cell, tensor }, i) =>
      i < kernel.outputs ? tf.scalar(0) : tf.reshape(this.#values.get(cell)!, [...tensor.shape])
    )
    return body?.(inputs, (params ?? {}) as Readonly<Record<string, number | boolean>>, command) // by the kernel's field names
  }
  #asReference(command: Command): void {
    const host = new Map<Cell, Uint8Array>()
    runReference(command, (cell, _, bytes) => {
      const known = host.get(cell)
      if (known !== undefined) return known
      const values = this.#values.get(cell)?.dataSync()
      const copy = new Uint8Array(values === undefined ? bytes : values.byteLength).fill(0xff) // NaN, where nothing was written
      if (values !== undefined) copy.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
      host.set(cell, copy)
      return copy
    })
    for (const operand of command.operands.slice(0, command.kernel.outputs)) this.#set(operand, host.get(operand.cell)!)
  }
  #put(cell: Cell, t: tf.Tensor): void {
    this.#values.get(cell)?.dispose()
    this.#values.set(cell, t)
  }
  #set({ cell, tensor: { shape, dtype } }: Operand, bytes: Uint8Array): void {
    const { buffer } = bytes.slice(0, sizeOf(shape) * bytesOf[dtype])
    this.#put(
      cell,
      tf.tensor(dtype === "i32" ? new Int32Array(buffer) : new Float32Array(buffer), [...shape], tfDType(dtype))
    )
  }
  protected copyIn(operand: Operand, source: () => Uint8Array): void {
    tfDType(operand.tensor.dtype)
    const bytes = source().slice()
    this.#push(() => this.#set(operand, bytes))
  }
  protected copyOut({ cell, tensor: { bytes } }: Operand): Promise<Uint8Array> {
    return this.#wait(() => {
      const values = this.#values.get(cell)!.dataSync()
      return new Uint8Array(values.buffer, values.byteOffset, bytes).slice()
    })
  }
  override free(cell: Cell): void {
    super.free(cell)
    if (this.#closed) return
    this.#push(() => {
      this.#values.get(cell)?.dispose()
      this.#values.delete(cell)
    })
  }
  idle(): Promise<void> {
    return this.#wait(() => undefined)
  }
  async close(): Promise<void> {
    const drained = new Promise<void>((resolve) => this.#push(resolve, resolve))
    this.#closed = true
    await drained
    for (const t of this.#values.values()) t.dispose()
    this.#values.clear()
  }
  cancel(): void {
    const dropped = this.#pending
    this.#pending = []
    for (const { drop, commands } of dropped) {
      drop()
      this.#completed += commands
    }
  }
  atomic(body: () => void): void {
    const outer = this.#pending
    const group: typeof outer = []
    this.#pending = group
    try {
      body()
    } finally {
      this.#pending = outer
      this.#pending.push({
        run: () => {
          for (const { run } of group) run()
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
  #wait<A>(take: () => A): Promise<A> {
    return new Promise((resolve, reject) =>
      this.#push(
        () => (this.#fault === undefined ? resolve(take()) : reject(this.#fault)),
        () => reject(new Cancelled())
      )
    )
  }
  #push(run: () => void, drop: () => void = () => {}): void {
    if (this.#closed) throw new ReferenceError("the queue is closed")
    this.#submitted++
    this.#pending.push({ run, drop, commands: 1 })
    if (this.#scheduled) return
    this.#scheduled = true
    setTimeout(this.#pump, 0)
  }
  #pump = (): void => {
    const until = performance.now() + 8 // milliseconds, then the event loop has a turn
    let done = 0
    while (done < this.#pending.length && performance.now() < until) {
      const { run, commands } = this.#pending[done++]!
      run()
      this.#completed += commands
    }
    this.#pending.splice(0, done)
    this.#scheduled = this.#pending.length > 0
    if (this.#scheduled) setTimeout(this.#pump, 0)
  }
}

await tf.setBackend("cpu")
const tensors = tf.memory().numTensors
const used = new Set<string>()
testBackend("tfjs", { limits, open: (bytes) => new TfjsQueue(bytes, used), lacks: ["bf16", "f16", "i8", "u8"] })

test("tfjs: its own ops ran, the reference where it has none, and every tensor was freed", () => {
  for (const kernel of Object.keys(bodies)) assert.ok(used.has(kernel), `${kernel} never ran as an op of tfjs`)
  for (const kernel of ["attentionBackward", "dropout", "adamW", "gemm"])
    assert.ok(used.has(`${kernel} by reference`), `${kernel} by reference, for windows too`)
  assert.equal(tf.memory().numTensors, tensors)
})
