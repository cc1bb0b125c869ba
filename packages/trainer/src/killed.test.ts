/** Real processes killed by SIGKILL at random instants, mostly as they save. `GRAFT_KILLS` says how many; CI has 20. */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"

const KILLS = Number(process.env.GRAFT_KILLS ?? 20)
const STEPS = 60
/** Kills of one run; then another begins. */
const KILLS_A_RUN = 20
/** Milliseconds after the first word at the most: some steps with their saves. */
const LIFE = 60

const program = fileURLToPath(new URL("../scripts/killedRun.ts", import.meta.url))

/** Runs, or is killed `life` milliseconds after its first word. Answers what was said and whether it came to its end. */
const runOnce = (folder: string, resume: boolean, life?: number) =>
  new Promise<{ readonly said: ReadonlyArray<string>; readonly ended: boolean }>((resolve, reject) => {
    const child = spawn(process.execPath, [program, folder, String(STEPS), ...(resume ? ["--resume"] : [])], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    let text = ""
    let wrong = ""
    child.stdout.setEncoding("utf8").on("data", (more: string) => {
      if (text === "" && life !== undefined) setTimeout(() => child.kill("SIGKILL"), life)
      text += more
    })
    child.stderr.setEncoding("utf8").on("data", (more: string) => {
      wrong += more
    })
    child.on("error", reject)
    child.on("close", (code, signal) => {
      if (signal === "SIGKILL" || code === 0) resolve({ said: text.split("\n"), ended: code === 0 })
      else reject(new Error(`ended with ${code}: ${wrong}`))
    })
  })
const adapterOf = (folder: string): Buffer => readFileSync(join(folder, "adapter.json"))

test(`a run killed ${KILLS} times ends with the bytes of the unbroken run`, {
  timeout: 60_000 + (KILLS > 20 ? 30_000 : 5_000) * KILLS
}, async () => {
  const root = mkdtempSync(join(tmpdir(), "graft-killed-"))
  let seed = Number(process.env.GRAFT_SEED ?? Date.now() % 2 ** 31)
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return seed / 2 ** 32
  }
  const from = seed
  try {
    assert.ok((await runOnce(join(root, "whole"), false)).ended)
    const wanted = adapterOf(join(root, "whole"))
    let kills = 0
    for (let at = 0; kills < KILLS; at++) {
      const folder = join(root, `run-${at}`)
      let ended = false
      for (let own = 0; own < KILLS_A_RUN && kills < KILLS && !ended; own++) {
        ended = (await runOnce(folder, own > 0, random() * LIFE)).ended
        if (!ended) kills++
      }
      const { said } = ended ? { said: [] } : await runOnce(folder, true)
      assert.ok(!said.some((line) => line.startsWith("Warning")), "what a kill leaves is not damage")
      assert.deepEqual(adapterOf(folder), wanted, `after ${kills} kills; GRAFT_SEED=${from} draws the same instants`)
      rmSync(folder, { recursive: true })
    }
  } finally {
    rmSync(root, { recursive: true })
  }
})
