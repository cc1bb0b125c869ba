/**
 * The example killed by SIGKILL in each of its phases: as it writes its checkpoint, as it quantises it, in a step, in a save. The
 * same line goes on each time. `GRAFT_KILLS` says how many; CI has 8. `GRAFT_SHAPES=llama-2-7b` has them at the model's own shapes.
 */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { knownShapes } from "@graft/cli"

const KILLS = Number(process.env.GRAFT_KILLS ?? 8)
const main = fileURLToPath(new URL("main.ts", import.meta.url))
const root = mkdtempSync(join(tmpdir(), "graft-7b-killed-"))
const config = join(root, "config.json")
writeFileSync(
  config,
  JSON.stringify({
    ...knownShapes["llama-2-7b"],
    ...{ hidden_size: 128, intermediate_size: 352, num_attention_heads: 4, num_key_value_heads: 4 }
  })
)
const shapes = process.env.GRAFT_SHAPES ?? config
const rank = process.env.GRAFT_RANK ?? "16"
const line = ["--synthetic", "--shapes", shapes, "--layers", "2", "--tokens", "64", "--steps", "4", "--rank", rank]

/** What the example says as a phase begins; the first is its start. */
const PHASES = [/^/, /model.safetensors /, /parameters, in/, /prepared in|loads/, /^step \d+/m, /taken;/]

interface Outcome {
  readonly ended: boolean
  /** When each phase began, in ms; undefined for those that were not said. */
  readonly began: ReadonlyArray<number | undefined>
}
/** Runs the line, or kills it `delay` milliseconds after it has said that a phase began. */
const run = (out: string, kill?: { readonly phase: number; readonly delay: number }) =>
  new Promise<Outcome>((resolve, reject) => {
    const since = performance.now()
    const child = spawn(process.execPath, [main, ...line, "--out", out], { stdio: ["ignore", "pipe", "pipe"] })
    const began: Array<number | undefined> = PHASES.map(() => undefined)
    let said = ""
    let wrong = ""
    const hear = (more: string) => {
      said += more
      for (const [i, begins] of PHASES.entries()) {
        if (began[i] !== undefined || !begins.test(said)) continue
        began[i] = performance.now() - since
        if (i === kill?.phase) setTimeout(() => child.kill("SIGKILL"), kill.delay)
      }
    }
    hear("")
    child.stdout.setEncoding("utf8").on("data", hear)
    child.stderr.setEncoding("utf8").on("data", (more: string) => {
      wrong += more
    })
    child.on("error", reject)
    child.on("close", (code, signal) => {
      if (signal === "SIGKILL" || code === 0) resolve({ ended: code === 0, began })
      else reject(new Error(`ended with ${code}: ${said}${wrong}`))
    })
  })

/** Every file of a folder, by its path in it. */
const filesIn = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort()
/** Once its config.json lies there a folder is a model, and whole. */
const requireWhole = (folder: string, wanted: string, why: string): void => {
  if (!existsSync(join(folder, "config.json"))) return
  for (const name of readdirSync(wanted).filter((one) => /\.safetensors$|config\.json$/.test(one)))
    assert.ok(readFileSync(join(folder, name)).equals(readFileSync(join(wanted, name))), `${folder}: ${name}, ${why}`)
}

test(`killed ${KILLS} times, the same line ends with the bytes of the unbroken run, and leaves nothing behind`, {
  timeout: 240_000 + 60_000 * KILLS
}, async () => {
  let seed = Number(process.env.GRAFT_SEED ?? Date.now() % 2 ** 31)
  const from = seed
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return seed / 2 ** 32
  }
  try {
    const whole = join(root, "whole")
    const { began } = await run(whole)
    assert.ok(began.every((at) => at !== undefined))
    /** What the unbroken run was from this phase on until the next began. */
    const lasts = (phase: number): number => Math.max(20, began[phase + 1]! - began[phase]!)
    const hits = PHASES.map(() => 0)
    let kills = 0
    while (kills < KILLS) {
      const out = join(root, "killed")
      for (let ended = false; !ended; ) {
        // Phases in turn, so that each is hit; the first begins with the runtime's start, where nothing happens.
        const phase = kills % (PHASES.length - 1)
        const delay = lasts(phase) * (phase === 0 ? 0.5 + 0.5 * random() : random())
        ended = (await run(out, kills < KILLS ? { phase, delay } : undefined)).ended
        if (!ended) {
          kills++
          hits[phase]!++
        }
        const why = `after ${kills} kills, the last in phase ${phase}; GRAFT_SEED=${from} draws the same instants`
        for (const model of ["random-2-layers", "random-2-layers-nf4"])
          requireWhole(join(out, model), join(whole, model), why)
        if (!ended) continue
        assert.ok(
          readFileSync(join(out, "adapter_model.safetensors")).equals(
            readFileSync(join(whole, "adapter_model.safetensors"))
          ),
          why
        )
        assert.deepEqual(filesIn(out), filesIn(whole), why)
      }
      rmSync(out, { recursive: true })
    }
    assert.ok(
      hits.slice(0, -1).every((count) => KILLS < PHASES.length || count > 0),
      hits.join()
    )
  } finally {
    rmSync(root, { recursive: true })
  }
})
