import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { TrainEvent } from "@graft/core"
import { Effect } from "effect"
import { metricsFile } from "./metricsFile.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-metrics-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const step = (n: number) =>
  TrainEvent.Step({ step: n, loss: 2, gradNorm: 1, learningRate: 1e-3, tokens: 8, tokensPerSecond: 4 })

const evaluation = (n: number, variant?: string) =>
  TrainEvent.Eval({ step: n, loss: 2, perplexity: 7, accuracy: 0.5, tokens: 9, ...(variant && { variant }) })

test("evaluations have lines of their own, and what is kept is told again", async () => {
  const { path, startAfter, add } = metricsFile(folder)
  const told = [evaluation(0), step(1), evaluation(1, "rank=8"), step(2), evaluation(2)]
  assert.deepEqual(await Effect.runPromise(startAfter(0)), [])
  for (const one of told) await Effect.runPromise(add(one))
  assert.equal(
    readFileSync(path, "utf8").split("\n")[2],
    '{"step":1,"variant":"rank=8","evalLoss":2,"evalPerplexity":7,"evalAccuracy":0.5,"evalTokens":9}'
  )
  writeFileSync(path, `${readFileSync(path, "utf8")}{"step":1,"what":"of somebody else"}\n`)
  assert.deepEqual(await Effect.runPromise(startAfter(1)), told.slice(0, 3))
})

test("a run that goes on keeps the lines of its steps, and none that was cut off", async () => {
  const { path, startAfter, add } = metricsFile(folder)
  const lines = () => readFileSync(path, "utf8").split("\n")
  await Effect.runPromise(startAfter(0))
  for (const n of [1, 2, 3]) await Effect.runPromise(add(step(n)))
  assert.equal(lines()[0], '{"step":1,"loss":2,"gradNorm":1,"learningRate":0.001,"tokens":8,"tokensPerSecond":4}')
  writeFileSync(path, `${readFileSync(path, "utf8")}{"step":4,"lo`)
  await Effect.runPromise(startAfter(2))
  assert.deepEqual(
    lines().map((line) => (line === "" ? 0 : JSON.parse(line).step)),
    [1, 2, 0]
  )
  await Effect.runPromise(startAfter(0))
  assert.equal(readFileSync(path, "utf8"), "")
})
