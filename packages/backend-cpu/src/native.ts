/**
 * The raw binding of the native library, typed. Numbers and bytes only: what they mean is the queue's affair.
 *
 * A queue runs its commands one after the other on its own threads; `enqueue…`, `upload…`, `poison`, `record` return at
 * once. Offsets and sizes are bytes of an arena. What lies outside of an arena, has a wrong length or names an unknown
 * kernel throws when it is enqueued. An error of the outside world (a file, a host body, a plug-in) sticks: what comes
 * later does nothing, and reads reject with a `NativeFault`.
 */
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"

export interface NativeInfo {
  /** What queues use unless told otherwise: GRAFT_ISA, else the best of `isas`. */
  readonly isa: string
  /** Available ones, "scalar" first, the best last. */
  readonly isas: ReadonlyArray<string>
  /** By affinity and control group, at least 1. */
  readonly cores: number
  /** Physical memory or the control group's limit. */
  readonly memoryBytes: number
  /** The processor's name. */
  readonly model: string
  /** A queue takes sharedScratchBytes + threads · scratchBytesPerThread beside its arenas. */
  readonly scratchBytesPerThread: number
  readonly sharedScratchBytes: number
  /** Kinds that `peak` measures here. */
  readonly peaks: ReadonlyArray<string>
}

export interface NativeOptions {
  /** Workers, the queue's own thread counted. */
  readonly threads: number
  /** Sizes in bytes. Address space now, pages as they are touched; zero at first. */
  readonly arenas: ReadonlyArray<number>
  readonly isa?: string
  /**
   * The turn of the host body `token`. With `run` the queue waits until `hostDone(token)`, which may be called within or
   * later; what this throws is the body's error. Without `run` the body was cancelled or comes after a fault.
   */
  readonly onHost?: (token: number, run: boolean) => void
}

/** What reads reject with. GRAFT_FAULT: `op` failed and the fault sticks. GRAFT_CANCELLED: `op` is "cancel". */
export interface NativeFault extends Error {
  readonly code: "GRAFT_FAULT" | "GRAFT_CANCELLED"
  readonly op: string
}

/** Names a queue. */
export type NativeHandle = number

/**
 * A command is numbers in a Float64Array:
 * [kernel, operandCount, (arena, byteOffset, dtype, rank, d0, d1, d2, d3) × operandCount,
 *  workspaceArena (−1: none), workspaceOffset, paramCount, params…], outputs before inputs;
 * dtypes: 0 f32, 1 bf16, 2 f16, 3 i32, 4 i8, 5 u8. It is copied when enqueued: one array serves all commands.
 */
export interface Native {
  info(): NativeInfo
  open(options: NativeOptions): NativeHandle
  /**
   * The number of kernel `name` for commands, or −1 when `isa` (default: `info().isa`) has no body for it, lower ones
   * included. Throws when `fields`, the names of the params, are not the body's. The first `outputs` (default 1)
   * operands are what the flight recorder hashes. Numbers hold for all queues of the process.
   */
  kernel(name: string, fields: ReadonlyArray<string>, outputs?: number, isa?: string): number
  enqueue(handle: NativeHandle, command: Float64Array, length: number): void
  /** A command whose body is JavaScript: `onHost(token, …)` is called in its turn. Of `command` only the operands count. */
  enqueueHost(
    handle: NativeHandle,
    op: string,
    token: number,
    outputs: number,
    command: Float64Array,
    length: number
  ): void
  /** The host body `token` has ended, with `error` badly: that becomes the fault of its op. */
  hostDone(handle: NativeHandle, token: number, error?: string | null): void
  /** Copies `bytes` now; they land in the arena in order. */
  upload(handle: NativeHandle, arena: number, offset: number, bytes: Uint8Array): void
  /** Reads the file's bytes straight into the arena, in order. A file that cannot be read or is too short is a fault. */
  uploadFile(handle: NativeHandle, arena: number, offset: number, path: string, fileOffset: number, bytes: number): void
  /** The bytes after everything before, at most 4 GiB. The buffer is made now: read what is large in pieces. */
  read(handle: NativeHandle, arena: number, offset: number, bytes: number): Promise<ArrayBuffer>
  /** The same into `into`, as many bytes as it has; it is kept alive, and whoever touches it before they are there sees some of them. */
  readInto(handle: NativeHandle, arena: number, offset: number, into: Uint8Array): Promise<void>
  /** The arena's own memory, at most 4 GiB. To be touched within a host body only; after `close` it is zeros. */
  view(handle: NativeHandle, arena: number, offset: number, bytes: number): ArrayBuffer
  /** Fills with 0xff, in order: NaN in every float type. */
  poison(handle: NativeHandle, arena: number, offset: number, bytes: number): void
  /** What is enqueued until `atomicEnd` begins only then, and is one command to `cancel`. Nests. */
  atomicBegin(handle: NativeHandle): void
  atomicEnd(handle: NativeHandle): void
  /** Drops what is queued and has not begun; its reads reject. What is enqueued later runs. */
  cancel(handle: NativeHandle): void
  /** Commands enqueued, commands done, bytes of uploads that were copied and wait. */
  progress(handle: NativeHandle): readonly [submitted: number, completed: number, uploadBytes: number]
  /** Turns the flight recorder on or off, in order. */
  record(handle: NativeHandle, on: boolean): void
  /** Takes what was recorded since the last call: op and a 64-bit hash of its outputs in hexadecimal, in order. */
  flight(handle: NativeHandle): ReadonlyArray<readonly [op: string, hash: string]>
  /** Turns the timing of commands on or off, at once. */
  time(handle: NativeHandle, on: boolean): void
  /** Takes what was timed since the last call: f64 (number of the command, begin, end), nanoseconds of one clock. */
  times(handle: NativeHandle): ArrayBuffer
  /** Runs what is queued, then joins the threads and frees the memory. Nothing can be enqueued from now on. */
  close(handle: NativeHandle): Promise<void>
  /** Adds the kernels and panel sources of a shared library (native/include/graft/plugin.h). */
  loadPlugin(path: string): void
  /** Floating-point operations a second of `threads` threads in registers for `ms`. Blocks. */
  peak(kind: string, threads: number, ms: number): number
  /** Bytes a second, measured for `ms` each on 128 MiB a thread. `copy` counts reads and writes. Blocks. */
  bandwidth(threads: number, ms: number): { readonly read: number; readonly copy: number }
  /** Processor time of the calling thread, in seconds: what it waited for a core does not count. */
  threadSeconds(): number
}

const platform = `${process.platform}-${process.arch}`

/** Where the library of this machine lies, whether it exists or not. */
export const nativePath = (): string => fileURLToPath(new URL(`../prebuilt/${platform}/graft.node`, import.meta.url))

let loaded: Native | undefined

/** What builds it: a program of Node beside this file as installed, a script in the repository. */
const buildCommand = (): string => {
  const program = fileURLToPath(new URL("buildNative.js", import.meta.url))
  return existsSync(program) ? `node "${program}"` : "bun run build:native"
}

/** Loads the library once. Throws what is missing and how to get it, or what is wrong with GRAFT_ISA. */
export const loadNative = (): Native => {
  if (loaded !== undefined) return loaded
  const path = nativePath()
  if (!existsSync(path)) {
    throw new Error(
      `@graft/backend-cpu has no native library for ${platform} (${path}): build it with \`${buildCommand()}\`; it needs g++ or clang++ of C++20`
    )
  }
  let native: Native
  try {
    // The library exports exactly these functions; engine/binding.cc checks their arguments.
    native = createRequire(import.meta.url)(path) as Native
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(
      `the native library ${path} does not load: ${reason}; it may be built for another system: build it anew with \`${buildCommand()}\` (Deno needs --allow-ffi)`,
      { cause }
    )
  }
  native.info()
  loaded = native
  return native
}
