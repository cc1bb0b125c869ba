/**
 * Threads that render and tokenise rows. They give what this thread would, and answers are taken in the order of the rows,
 * so that nothing depends on how many there are.
 */
import { Worker } from "node:worker_threads"
import { type DataErrorFields, dataErrorOf } from "./DataError.ts"
import type { EncodedBatch, RawBatch } from "./encodeBatch.ts"
import type { EncodeOptions } from "./encodeRow.ts"
import type { RawRow } from "./RowFile.ts"
import type { ColumnNames } from "./readRow.ts"

/** How another thread makes tokenizer, template and stop ids again, since functions cannot be sent there. */
export interface TextAgain {
  /** The URL of a module that exports `textOfModel`: of the argument, a promise of a `TextOfModel`. */
  readonly module: string
  /** What structured cloning can send. */
  readonly argument: unknown
}
export interface Setup {
  readonly again: TextAgain
  readonly sizes: { readonly vocabularySize: number; readonly positions: number }
  readonly encoding: EncodeOptions
  readonly columns: ColumnNames
  readonly stopIds: ReadonlyArray<number>
}
export interface Job {
  readonly id: number
  /** Tells files apart; `first` is the file's first row, which settles its columns. */
  readonly file: number
  readonly name: string
  readonly first: RawRow
  readonly split: boolean
  readonly batch: RawBatch
}
export interface Answer {
  readonly id: number
  readonly batch?: EncodedBatch
  readonly wrong?: DataErrorFields
  readonly failed?: string
}

/** Batches that one thread has before it: one in work, one to go on with. */
const AHEAD = 2

export interface EncodingPool extends Disposable {
  /** Batches that may be on their way together. */
  readonly room: number
  readonly encode: (job: Omit<Job, "id">) => Promise<EncodedBatch>
}

/** Undefined where no thread can be started: a bundle may have left its file out. */
export const encodingPool = async (threads: number, setup: Setup): Promise<EncodingPool | undefined> => {
  const file = import.meta.url.endsWith(".ts") ? "./encodingWorker.ts" : "./encodingWorker.js"
  const waiting = new Map<number, PromiseWithResolvers<EncodedBatch>>()
  const failAll = (error: unknown) => {
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  const workers: Array<Worker> = []
  let closed = false
  const close = () => {
    closed = true
    for (const worker of workers) void worker.terminate()
    failAll(new Error("the threads that encode rows were ended"))
  }
  const start = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(file, import.meta.url), { workerData: setup })
      workers.push(worker)
      const end = (error: unknown) => {
        reject(error) // of no effect once it is ready
        if (!closed) failAll(error)
      }
      worker.on("error", end).on("exit", () => end(new Error("a thread that encodes rows has ended")))
      worker.on("message", ({ id, batch, wrong, failed }: Answer) => {
        resolve()
        const asked = waiting.get(id)
        waiting.delete(id)
        if (batch !== undefined) asked?.resolve(batch)
        else asked?.reject(wrong === undefined ? new Error(failed) : dataErrorOf(wrong))
      })
    })
  try {
    await Promise.all(Array.from({ length: threads }, start))
  } catch {
    close()
    return undefined
  }
  let id = 0
  return {
    room: AHEAD * threads,
    encode: (job) => {
      const asked = withResolvers<EncodedBatch>()
      asked.promise.catch(() => {}) // whoever awaits it is told
      waiting.set(id, asked)
      const message: Job = { ...job, id }
      workers[id++ % workers.length]!.postMessage(message, "bytes" in job.batch ? [job.batch.bytes.buffer] : [])
      return asked.promise
    },
    [Symbol.dispose]: close
  }
}

interface PromiseWithResolvers<A> {
  readonly promise: Promise<A>
  readonly resolve: (value: A) => void
  readonly reject: (error: unknown) => void
}
const withResolvers = <A>(): PromiseWithResolvers<A> => {
  let resolve: (value: A) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<A>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
