/**
 * The quickstart: fine-tunes the embedded model on embedded data with the `graft` command, each call as a person would type
 * it, and puts its answers before and after side by side. `bun run quickstart` installs and builds first.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { relative } from "node:path"
import { fileURLToPath } from "node:url"
import { nativePath } from "@graft/backend-cpu"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("../../", import.meta.url))
const at = (name: string): string => relative(root, `${here}${name}`)
const graft = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url))

const native = existsSync(nativePath())
const backend = native ? [] : ["--backend", "reference"]
const [steps, rows] = native ? [110, 8] : [12, 4]
const out = process.argv[2] ?? "graft-quickstart"
const prompts = ["What is a ship?", "What is a philosopher?", "What is a river?"]

const shown = (args: ReadonlyArray<string>): string => args.map((a) => (/[\s?]/.test(a) ? `"${a}"` : a)).join(" ")
const heading = (args: ReadonlyArray<string>): void => console.log(`\n$ graft ${shown(args)}`)
const call = (args: ReadonlyArray<string>): void => {
  heading(args)
  const { status } = spawnSync(process.execPath, [graft, ...args], { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(status ?? 1)
}
const answer = (prompt: string, adapter: ReadonlyArray<string>): string => {
  const args = ["generate", "--model", at("model"), ...adapter, "--chat", "--prompt", prompt, "-n", "48", ...backend]
  const { stdout, stderr, status } = spawnSync(process.execPath, [graft, ...args], { cwd: root, encoding: "utf8" })
  if (status !== 0) throw new Error(stderr)
  return stdout.trim()
}

if (!native) {
  console.log(
    "There is no native library (no C++ compiler, or it was not built): the slow reference backend runs instead, shorter."
  )
  console.log("With one: install g++, then `bun run build:native`.")
}
call(["doctor", ...(native ? [] : ["--quick"])])
const before = prompts.map((prompt) => answer(prompt, []))
call(
  [
    "train",
    "--model",
    at("model"),
    "--data",
    at("data/pirate.jsonl"),
    "--eval-data",
    at("data/pirate-held-out.jsonl")
  ].concat(
    [
      "--quantize",
      "nf4",
      "--double-quant",
      "--rank",
      "16",
      "--batch-size",
      String(rows),
      "--steps",
      String(steps),
      "--learning-rate",
      "2e-3"
    ],
    // 1 MiB is less than the state of these adapters: it pages.
    ["--optimizer", "paged-adamw-32bit", "--optimizer-memory", "1MiB"],
    ["--schedule", "linear", "--warmup", "5", "--out", out, ...backend]
  )
)
const after = prompts.map((prompt) => answer(prompt, ["--adapter", out]))

console.log("\nThe same three questions, before and after:")
for (const [i, prompt] of prompts.entries()) {
  console.log(`\n  ${prompt}\n    before  ${before[i]}\n    after   ${after[i]}`)
}
console.log(`\nThe adapter lies in ${out}, in PEFT's format. Next:`)
console.log(`  bun run graft chat --model ${at("model")} --adapter ${out}`)
console.log(`  bun run graft plan --model ${at("model")} --data YOUR.jsonl`)
console.log("  bun run graft train --model A-HUGGING-FACE-FOLDER-OR.gguf --data YOUR.jsonl --out my-adapter")
