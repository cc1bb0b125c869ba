/**
 * Next-token predictions of Graft beside llama.cpp's, on the same GGUF, over teacher-forced text.
 *
 *   bun oracles/llama-cpp/logits.ts MODEL.gguf [TEXT.jsonl]     TEXT: rows with `prompt` and `completion`
 *
 * Ends with exit code 1 where the most likely token differs although Graft's two best are more than 0.5 nat apart. llama.cpp
 * rounds activations to 8 bits in its matrix products, so close calls may fall either way.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { getLlama, LlamaLogLevel } from "node-llama-cpp"
import { Effect } from "../../packages/safetensors/node_modules/effect/dist/index.js"
import { int64Bytes, openSafetensors, writeSafetensors } from "../../packages/safetensors/src/index.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const [model, text = join(root, "examples/data/jargon-held-out.jsonl")] = process.argv.slice(2)
if (model === undefined) throw new Error("usage: bun oracles/llama-cpp/logits.ts MODEL.gguf [TEXT.jsonl]")
const TOKENS = 256
const SEQUENCES = 5
const CLEAR = 0.5 // nats between our two best

const llama = await getLlama({ build: "never", gpu: false, skipDownload: true, logLevel: LlamaLogLevel.error })
const theirs = await llama.loadModel({ modelPath: model })
const rows = readFileSync(text, "utf8")
  .split("\n")
  .filter((line) => line !== "")
const whole = rows
  .map((line) => JSON.parse(line))
  .map((row: Record<string, string>) => `${row["prompt"]}${row["completion"]}`)
  .join("\n\n")
const ids = theirs.tokenize(whole).slice(0, TOKENS * SEQUENCES)
if (ids.length < TOKENS * SEQUENCES) throw new Error(`${text} has only ${ids.length} tokens`)

const folder = mkdtempSync(join(tmpdir(), "graft-logits-"))
const [input, output] = [join(folder, "ids.safetensors"), join(folder, "logits.safetensors")]
const tensor = { name: "input_ids", dtype: "I64" as const, shape: [SEQUENCES, TOKENS], read: () => int64Bytes(ids) }
await Effect.runPromise(writeSafetensors(input, [tensor]))
const command = [
  "packages/cli/src/main.ts",
  "logits",
  "--model",
  model,
  "--ids",
  input,
  "--out",
  output,
  "--compute",
  "f32"
]
const made = spawnSync(process.execPath, command, { cwd: root, stdio: "inherit" })
if (made.status !== 0) throw new Error(`graft logits ended with ${made.status}`)

const context = await theirs.createContext({ contextSize: TOKENS, batchSize: TOKENS })
const sequence = context.getSequence()
let places = 0
let alike = 0
let clear = 0
let wrong = 0
let divergence = 0
const program = Effect.gen(function* () {
  const file = yield* openSafetensors(output)
  const logits = file.tensors.get("logits")!
  const vocabulary = logits.shape[2]!
  for (let s = 0; s < SEQUENCES; s++) {
    const part = ids.slice(s * TOKENS, (s + 1) * TOKENS)
    const results = yield* Effect.promise(async () => {
      await sequence.clearHistory()
      return sequence.controlledEvaluate(part.map((id) => [id, { generateNext: { probabilities: true } }] as const))
    })
    for (const [t, result] of results.entries()) {
      const probabilities = result?.next.probabilities
      if (probabilities === undefined) continue
      const bytes = logits.read(4 * vocabulary * (s * TOKENS + t), 4 * vocabulary)
      const ours = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
      let [best, second] = [0, -1]
      for (let i = 1; i < ours.length; i++) {
        if (ours[i]! > ours[best]!) [second, best] = [best, i]
        else if (second < 0 || ours[i]! > ours[second]!) second = i
      }
      const sum = ours.reduce((total, v) => total + Math.exp(v - ours[best]!), 0)
      let [top, highest] = [-1, -1]
      for (const [id, p] of probabilities) {
        if (p > highest) [top, highest] = [id, p]
        if (p > 0) divergence += p * (Math.log(p) - (ours[id]! - ours[best]! - Math.log(sum)))
      }
      places++
      if (top === best) alike++
      if (ours[best]! - ours[second]! > CLEAR) {
        clear++
        if (top !== best) {
          wrong++
          console.log(
            `sequence ${s}, place ${t}: ours ${best} by ${(ours[best]! - ours[second]!).toFixed(3)} nat, llama.cpp's ${top}`
          )
        }
      }
    }
  }
})
await Effect.runPromise(Effect.scoped(program))
rmSync(folder, { recursive: true })
console.log(
  `${places} places: the most likely token is the same in ${alike}; of ${clear} where our two best are more than ${CLEAR} nat apart, ${wrong} differ; mean KL(llama.cpp ‖ Graft) ${(divergence / places).toExponential(2)} nat`
)
process.exitCode = wrong === 0 && places >= 1000 ? 0 : 1
