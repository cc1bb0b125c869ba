/** Rows that threads tokenise: the same bytes, findings and errors for any number of them. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { Effect, Fiber } from "effect"
import type { DataModel } from "./DataModel.ts"
import { prepareData } from "./prepareData.ts"
import { failure, run, write } from "./preparing.ts"
import { letters } from "./textForThreads.ts"

const TIMEOUT = { timeout: 60_000 }
const module = new URL("./textForThreads.ts", import.meta.url).href
const model: DataModel = { ...letters, vocabularySize: 600, positions: 256, again: { module, argument: "letters" } }
/** More rows than are encoded before threads are asked for. */
const ROWS = 12_000
const rowOf = (i: number) => ({
  question: `q ${i % 9000}`,
  completion: i % 4000 === 5 ? "" : ` answer ${(i % 9000) * 7}`
})
const lines = Array.from({ length: ROWS }, (_, i) => (i % 1000 === 3 ? "" : JSON.stringify(rowOf(i))))
const many = write("many.jsonl", ...lines)
const table = write("more.csv", "question,completion", ...Array.from({ length: 3000 }, (_, i) => `c ${i},d ${i % 50}`))
const options = {
  data: [many, { path: table, weight: 0.5 }],
  columns: { prompt: "question" },
  evaluationFraction: 0.1,
  maxLength: 18,
  packing: true
}

test("any number of threads gives the same batches, findings and places", TIMEOUT, async () => {
  const made = (workers: number, of = model) =>
    run(
      { ...options, workers },
      ({ fingerprint, report, batches, placeOf, evaluation }) => ({
        fingerprint,
        report,
        batches: [1, 2, 3].map(batches),
        places: [0, 9_000, 11_000, 14_000].map(placeOf),
        evaluation: evaluation.length
      }),
      of
    )
  const here = await made(0)
  assert.equal(here.report.rows, ROWS - 12 + 3000)
  for (const code of ["truncated", "duplicate", "empty-turn"] as const)
    assert.ok(
      here.report.findings.some((finding) => finding.code === code),
      code
    )
  assert.deepEqual(await made(3), here, "three threads")
  const missing = { module: new URL("./none.ts", import.meta.url).href, argument: null }
  assert.deepEqual(await made(2, { ...model, again: missing }), here, "threads that cannot be had")
  const capitals = await made(2, { ...model, again: { module, argument: "capitals" } })
  assert.notEqual(capitals.fingerprint, here.fingerprint, "it is threads that tokenise")
  assert.equal(capitals.report.rows, here.report.rows)
})

test("an error has its row's place, the first of several", TIMEOUT, async () => {
  const bad = [...lines]
  bad[10_500] = '{"question": "a", "completion":'
  bad[11_000] = "not JSON either"
  const data = write("bad.jsonl", ...bad)
  const error = await failure({ ...options, data, workers: 2 }, model)
  assert.equal(error._tag, "MalformedRow")
  assert.equal(error.message, (await failure({ ...options, data, workers: 0 }, model)).message)
  assert.match(error.message, /bad\.jsonl line 10501: not JSON/)
  bad[10_500] = JSON.stringify({ prompt: "a" })
  bad[11_000] = ""
  const other = await failure({ ...options, data: write("columns.jsonl", ...bad), workers: 2 }, model)
  assert.match(
    other.message,
    /columns\.jsonl line 10501: the row has the columns prompt; wanted question \+ completion/
  )
})

test("a stop ends the threads with the preparation", TIMEOUT, async () => {
  const endless = write("endless.jsonl", ...lines, ...lines, ...lines, ...lines, ...lines)
  const fiber = Effect.runFork(Effect.scoped(prepareData({ ...options, data: endless, workers: 2 }, model)))
  await new Promise((resolve) => setTimeout(resolve, 150))
  await Effect.runPromise(Fiber.interrupt(fiber))
})
