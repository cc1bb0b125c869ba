/**
 * Every family of models beside llama.cpp: the tiny GGUFs of packages/llama-loader/fixtures/architectures and PEFT's LoRA over
 * all their linears, by `graft verify` over 200 tokens.
 *
 *   bun oracles/llama-cpp/families.ts
 *
 * Ends with exit code 1 where the mean divergence is above 2e-3 nat: these models are random and sure of what they say, and
 * llama.cpp rounds activations to bf16 in its products with bf16 weights.
 */
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

const LIMIT = 2e-3 // nat
const here = fileURLToPath(new URL(".", import.meta.url))
const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url))
const fixtures = fileURLToPath(new URL("../../packages/llama-loader/fixtures/architectures/", import.meta.url))

interface Means {
  readonly without: { readonly mean: number }
  readonly withAdapter: { readonly mean: number }
}
let wrong = 0
for (const family of readdirSync(fixtures)) {
  const model = ["--model", `${fixtures}${family}/model.gguf`, "--adapter", `${fixtures}${family}/adapter`]
  const { stdout, stderr } = spawnSync(process.execPath, [main, "verify", ...model, "--tokens", "200", "--json"], {
    cwd: here, // where node-llama-cpp is installed
    encoding: "utf8"
  })
  const said = stdout.split("\n").find((line) => line.includes('"Verify"'))
  if (said === undefined) {
    console.log(`${family}: ${stderr}`)
    wrong++
    continue
  }
  const { without, withAdapter } = JSON.parse(said) as Means // the event of verify.ts
  console.log(
    `${family}: ${without.mean.toExponential(2)} nat from llama.cpp, with an adapter ${withAdapter.mean.toExponential(2)}`
  )
  if (!(Math.max(without.mean, withAdapter.mean) <= LIMIT)) wrong++
}
process.exitCode = wrong === 0 ? 0 : 1
