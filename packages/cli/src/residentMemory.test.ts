/**
 * The memory that a run has in RAM against its plan: a plan that leaves out what is large is worth nothing. Two layers of
 * Llama-2-7b with few words and a large adapter, so that a second copy of either the weights (209 MB) or the adapter (80 MB)
 * is more than all that is allowed beside the plan.
 */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { backends, graftOk, jsonLines, temporaryFolder } from "./commandUnderTest.ts"
import { knownShapes } from "./synth/knownShapes.ts"

/** For machine code of what runs, the tokenizer, the rows and the objects of a step: Bun took up to 13 MB with a real tokenizer. */
const ALLOWANCE = 16e6
/** The runtime's own, by resident pages: what a process has that loads Graft and does nothing. */
const emptyRuntime = (): number => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [fileURLToPath(new URL("./emptyRuntime.ts", import.meta.url))],
    { encoding: "utf8" }
  )
  assert.match(stdout, /^\d+\n$/, stderr)
  return Number(stdout)
}
const told = existsSync("/proc/self/status") && backends.includes("cpu")

if (told)
  test("a run has at most 1.03 times its plan in RAM, and a runtime", { timeout: 240_000 }, async () => {
    const folder = temporaryFolder()
    const [config, model, rows, out] = ["config.json", "model", "rows.jsonl", "out"].map((name) => join(folder, name))
    const shapes = { ...knownShapes["llama-2-7b"], num_hidden_layers: 2, vocab_size: 700 }
    writeFileSync(config!, JSON.stringify(shapes))
    await graftOk("synth", "--config", config!, "--out", model!, "--quantize", "nf4")
    const ids = Array.from({ length: 48 }, (_, i) => 300 + i)
    writeFileSync(rows!, `${JSON.stringify({ input_ids: ids, labels: ids })}\n`.repeat(2))
    const text = await graftOk(
      ...[
        "train",
        "--model",
        model!,
        "--data",
        rows!,
        "--out",
        out!,
        "--rank",
        "128",
        "--batch-size",
        "1",
        "--steps",
        "2"
      ],
      ...["--checkpointing", "--json"]
    )
    const events = jsonLines(text)
    const memory = events.find(({ event }) => event === "Memory") as Record<string, number>
    const { plannedBytes, takenBytes, processPeakBytes } = memory
    assert.equal(takenBytes, plannedBytes)
    assert.ok(plannedBytes! > 5e8, `planned ${plannedBytes}`)
    const most = 1.03 * plannedBytes! + emptyRuntime() + ALLOWANCE
    assert.ok(processPeakBytes! <= most, `${processPeakBytes} bytes were resident, ${most} are allowed`)
    // All of the plan's memory is used, so that what is resident tells of it.
    assert.ok(processPeakBytes! > plannedBytes!, `${processPeakBytes} of ${plannedBytes}`)
    assert.match(readFileSync(join(out!, "report.html"), "utf8"), /<dt>resident at most<\/dt><dd>[\d.]+ MB/)
  })
