/** The thread's side of encodingPool.ts: makes the model's text again, then encodes the batches that it is sent. */
import { parentPort, workerData } from "node:worker_threads"
import { fieldsOfDataError, isDataError } from "./DataError.ts"
import { encodeBatch, rowsOf } from "./encodeBatch.ts"
import { rowEncoder } from "./encodeRow.ts"
import type { Answer, Job, Setup } from "./encodingPool.ts"
import { rowReader } from "./readRow.ts"

if (parentPort === null) throw new TypeError("encodingWorker.ts runs in a thread of encodingPool.ts")
const port = parentPort
const setup = workerData as Setup // encodingPool.ts alone starts this
const made = (await import(setup.again.module)) as {
  readonly textOfModel: (argument: unknown) => Promise<object> // what TextAgain says
}
const encode = rowEncoder({ ...(await made.textOfModel(setup.again.argument)), ...setup.sizes }, setup.encoding)
const stopIds = new Set(setup.stopIds)
let file = -1
let read = rowReader(setup.columns)

port.on("message", (job: Job) => {
  let answer: Answer
  try {
    if (job.file !== file) {
      file = job.file
      read = rowReader(setup.columns)
      read(job.first.value, job.first.place) // settles the columns
    }
    answer = { id: job.id, batch: encodeBatch(rowsOf(job.batch, job.name), read, encode, job.split, stopIds) }
  } catch (error) {
    answer = isDataError(error)
      ? { id: job.id, wrong: fieldsOfDataError(error) }
      : { id: job.id, failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
  const { batch } = answer
  port.postMessage(answer, batch === undefined ? [] : [batch.words.buffer, batch.lengths.buffer, batch.numbers.buffer])
})
const ready: Answer = { id: -1 }
port.postMessage(ready)
