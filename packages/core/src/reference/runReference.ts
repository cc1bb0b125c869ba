/** Runs a kernel's slow body over host memory: what the reference backend does always, and others for kernels they lack. */

import type { Cell } from "../Allocator.ts"
import { bytesOf } from "../dtype.ts"
import type { Command, Operand, View } from "../Queue.ts"
import { narrow, widen } from "./conversion.ts"

/** The bytes [offset, offset + bytes) of the arena of a cell. */
export type MemoryAt = (cell: Cell, offset: number, bytes: number) => Uint8Array

const viewOf = ({ cell, byteOffset, tensor }: Operand, memory: MemoryAt): View => {
  const bytes = memory(cell, byteOffset, tensor.bytes)
  const { dtype } = tensor
  if (dtype === "bf16" || dtype === "f16") return widen(bytes, dtype)
  const TypedArray = { f32: Float32Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array }[dtype]
  return new TypedArray(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / bytesOf[dtype]) // arenas are no SharedArrayBuffer
}

export const runReference = (command: Command, memory: MemoryAt): void => {
  const { kernel, operands, params, workspace } = command
  const views = operands.map((o) => viewOf(o, memory))
  const scratch = workspace === undefined ? undefined : memory(workspace, workspace.offset, workspace.bytes)
  kernel.reference(
    views,
    params as never, // enqueue typed them by its kernel
    scratch === undefined
      ? new Float32Array(0)
      : new Float32Array(scratch.buffer as ArrayBuffer, scratch.byteOffset, scratch.byteLength / 4)
  )
  for (let i = 0; i < kernel.outputs; i++) {
    const { cell, byteOffset, tensor } = operands[i]!
    if (tensor.dtype === "bf16" || tensor.dtype === "f16")
      memory(cell, byteOffset, tensor.bytes).set(narrow(views[i]!, tensor.dtype))
  }
}
