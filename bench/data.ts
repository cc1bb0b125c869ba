/**
 * Preparing rows: `bun bench/data.ts ROWS MODEL_FOLDER [THREADS]` writes that many conversations to a temporary file, prepares them
 * with packing, and says rows and tokens a second, and the resident memory as it goes; then how long the batches of a step take.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { open } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openModel } from "@graft/llama-loader"
import { prepareData } from "@graft/sft"
import { Effect } from "effect"

const rows = Number(process.argv[2] ?? 100_000)
const [, , , folder, threads] = process.argv
if (folder === undefined) throw new TypeError("wanted: bun bench/data.ts ROWS MODEL_FOLDER")
const work = mkdtempSync(join(tmpdir(), "graft-bench-data-"))
const path = join(work, "rows.jsonl")
const words =
  "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were her all she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three".split(
    " "
  )

/** A linear congruential generator: equal rows on every machine. */
let state = 1
const below = (bound: number): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * bound)
}
const sentence = (length: number) => Array.from({ length }, () => words[below(words.length)]!).join(" ")

const handle = await open(path, "w")
for (let done = 0; done < rows; done += 1000) {
  const some = Array.from({ length: Math.min(1000, rows - done) }, (_, i) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `${done + i}: ${sentence(5 + below(20))}?` },
        { role: "assistant", content: `${sentence(10 + below(60))}.` }
      ]
    })
  )
  await handle.write(`${some.join("\n")}\n`)
}
await handle.close()

const mib = () => Math.round(process.memoryUsage.rss() / 2 ** 20)
const model = await Effect.runPromise(Effect.scoped(openModel(folder)))
console.log(`resident before: ${mib()} MiB`)
const began = performance.now()
const cpu = process.cpuUsage()
let most = 0
const timer = setInterval(() => {
  most = Math.max(most, mib())
  console.log(`${((performance.now() - began) / 1000).toFixed(0)} s: ${mib()} MiB`)
}, 5_000)
const program = Effect.map(
  prepareData(
    {
      data: path,
      batchSize: 8,
      packing: true,
      maxLength: 1024,
      ...(threads === undefined ? {} : { workers: Number(threads) })
    },
    {
      tokenizer: model.tokenizer,
      chatTemplate: model.chatTemplate,
      stopIds: model.stopIds,
      again: {
        module: new URL("../packages/cli/src/textAgain.ts", import.meta.url).href,
        argument: { path: folder }
      },
      vocabularySize: model.config.vocabularySize,
      positions: model.config.maxPositions
    }
  ),
  (data) => {
    clearInterval(timer)
    const seconds = (performance.now() - began) / 1000
    const busy = process.cpuUsage(cpu).user / 1e6
    const { tokens } = data.report
    console.log(`${rows} rows, ${tokens} tokens in ${seconds.toFixed(1)} s (${busy.toFixed(1)} s of a processor)`)
    console.log(
      `${(rows / busy).toFixed(0)} rows/s, ${(tokens / busy / 1e6).toFixed(2)} M tokens/s of a processor; resident ${mib()} MiB, at most ${Math.max(most, mib())}`
    )
    const steps = Math.min(data.stepsPerEpoch, 50)
    data.batches(1)
    const from = process.cpuUsage()
    let seen = 0
    for (let step = 1; step <= steps; step++) {
      for (const micro of data.batches(step)) for (const { ids } of micro) seen += ids.length
    }
    const each = process.cpuUsage(from).user / 1000 / steps
    console.log(`batches: ${each.toFixed(2)} ms a step of ${Math.round(seen / steps)} tokens`)
  }
)
await Effect.runPromise(Effect.scoped(program))
rmSync(work, { recursive: true })
