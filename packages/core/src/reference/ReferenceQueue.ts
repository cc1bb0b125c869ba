/**
 * The reference backend: kernels' slow bodies over ArrayBuffers, run later by a timer, so that ordering and lifetime rules
 * are exercised as on a device. Fresh memory is NaN. Optionally a flight recorder hashes each op's outputs.
 */
import type { Cell } from "../Allocator.ts"
import { Cancelled, type Command, DeviceFault, type Limits, type Operand, oneArena, Queue } from "../Queue.ts"
import { contentHash } from "./contentHash.ts"
import { runReference } from "./runReference.ts"

interface Entry {
  readonly run: () => void
  readonly drop: () => void
  readonly commands: number
}
/** Milliseconds of work before the event loop gets a turn. */
const SLICE = 8

export class ReferenceQueue extends Queue {
  readonly #memory: ReadonlyArray<ArrayBuffer>
  #pending: Array<Entry> = []
  #next = 0
  /** Entries before this index were cancelled. */
  #dropUntil = 0
  #scheduled = false
  #closed = false
  #fault: DeviceFault | undefined
  #submitted = 0
  #completed = 0
  readonly #record: boolean
  #flight: Array<readonly [op: string, hash: string]> = []

  constructor(
    capacities: ReadonlyArray<number>,
    options: { readonly limits?: Limits; readonly record?: boolean } = {}
  ) {
    super(capacities, options.limits ?? oneArena("reference"))
    this.#memory = capacities.map((bytes) => new ArrayBuffer(bytes))
    this.#record = options.record === true
  }
  #at = (cell: Cell, offset: number, bytes: number): Uint8Array =>
    new Uint8Array(this.#memory[cell.arena]!, offset, bytes)

  protected submit(command: Command): void {
    this.#push(() => {
      if (this.#fault !== undefined) return
      const { kernel, operands } = command
      try {
        runReference(command, this.#at)
        if (this.#record) {
          const outputs = operands.slice(0, kernel.outputs)
          this.#flight.push([
            kernel.name,
            contentHash(outputs.map((o) => this.#at(o.cell, o.byteOffset, o.tensor.bytes)))
          ])
        }
      } catch (cause) {
        this.#fault = new DeviceFault(kernel.name, cause)
      }
    })
  }
  protected copyIn({ cell, byteOffset }: Operand, source: () => Uint8Array): void {
    const bytes = source().slice()
    this.#push(() => this.#at(cell, byteOffset, bytes.byteLength).set(bytes))
  }
  protected override poison(cell: Cell): void {
    this.#push(() => this.#at(cell, cell.offset, cell.bytes).fill(0xff))
  }
  protected copyOut({ cell, byteOffset }: Operand, into: Uint8Array): Promise<void> {
    return this.#wait(() => into.set(this.#at(cell, byteOffset, into.byteLength)))
  }
  idle(): Promise<void> {
    return this.#wait(() => undefined)
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
      this.#put({
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
  close(): Promise<void> {
    const drained = new Promise<void>((resolve) => this.#push(resolve, resolve))
    this.#closed = true
    return drained
  }
  get progress() {
    return { submitted: this.#submitted, completed: this.#completed }
  }

  override get flight(): ReadonlyArray<readonly [op: string, hash: string]> {
    return this.#flight.splice(0)
  }

  #wait<A>(take: () => A): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#push(
        () => (this.#fault === undefined ? resolve(take()) : reject(this.#fault)),
        () => reject(new Cancelled())
      )
    })
  }
  #push(run: () => void, drop: () => void = () => {}): void {
    if (this.#closed) throw new ReferenceError("the queue is closed")
    this.#submitted++
    this.#put({ run, drop, commands: 1 })
  }
  #put(entry: Entry): void {
    this.#pending.push(entry)
    if (!this.#scheduled) {
      this.#scheduled = true
      setTimeout(this.#pump, 0)
    }
  }
  #pump = (): void => {
    const until = performance.now() + SLICE
    while (this.#next < this.#pending.length && performance.now() < until) {
      const { run, drop, commands } = this.#pending[this.#next]!
      if (this.#next < this.#dropUntil) drop()
      else run()
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
