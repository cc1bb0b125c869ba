/** A native queue for tests: commands by kernel name over f32 or i32 vectors of one arena of 1 MiB. */
import { loadNative, type Native, type NativeHandle, type NativeOptions } from "./native.ts"

const arenaBytes = 1 << 20
const codes = { f32: 0, bf16: 1, i32: 3 }

export class TestQueue {
  readonly native: Native = loadNative()
  readonly handle: NativeHandle
  readonly isa: string | undefined
  #command = new Float64Array(64)

  constructor(options: Partial<NativeOptions> = {}) {
    this.isa = options.isa
    this.handle = this.native.open({ threads: 2, arenas: [arenaBytes], ...options })
  }
  /** [length] elements at byte `offset` of arena 0; in a command's operand order. */
  operand(offset: number, length: number, dtype: keyof typeof codes = "f32"): ReadonlyArray<number> {
    return [0, offset, codes[dtype], 1, length, 0, 0, 0]
  }
  command(kernel: number, operands: ReadonlyArray<ReadonlyArray<number>>, params: ReadonlyArray<number>): number {
    const numbers = [kernel, operands.length, ...operands.flat(), -1, 0, params.length, ...params]
    this.#command.set(numbers)
    return numbers.length
  }
  run(name: string, params: Readonly<Record<string, number>>, ...operands: ReadonlyArray<ReadonlyArray<number>>): void {
    const kernel = this.native.kernel(name, Object.keys(params), 1, this.isa)
    this.native.enqueue(this.handle, this.#command, this.command(kernel, operands, Object.values(params)))
  }
  host(op: string, token: number, ...operands: ReadonlyArray<ReadonlyArray<number>>): void {
    this.native.enqueueHost(this.handle, op, token, 1, this.#command, this.command(0, operands, []))
  }
  fill(value: number, offset = 0, length = 1): void {
    this.run("fill", { value }, this.operand(offset, length))
  }
  /** One kernel of native/test/enginePlugin.cc, which must be loaded: takes `ms`, then out[0] += value. */
  slowAdd(ms: number, value: number, offset = 0): void {
    this.run("test.slowAdd", { ms, value }, this.operand(offset, 1))
  }
  async floats(offset = 0, length = 1): Promise<ReadonlyArray<number>> {
    return [...new Float32Array(await this.native.read(this.handle, 0, offset, 4 * length))]
  }
  async integers(offset = 0, length = 1): Promise<ReadonlyArray<number>> {
    return [...new Int32Array(await this.native.read(this.handle, 0, offset, 4 * length))]
  }
  close(): Promise<void> {
    return this.native.close(this.handle)
  }
}
