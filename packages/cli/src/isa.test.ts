/** GRAFT_ISA: every instruction set of the machine trains alike, and one that is not there is refused. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { loadNative } from "@graft/backend-cpu"
import { backends, fixtures, jsonLines, root, start, temporaryFolder } from "./commandUnderTest.ts"

const folder = temporaryFolder()
const native = { skip: !backends.includes("cpu"), timeout: 300_000 }
const train = (isa: string, compute: "f32" | "bf16") => {
  const out = join(folder, `${isa}-${compute}`)
  const model = ["--model", join(fixtures, "tiny-bpe"), "--quantize", "nf4", "--double-quant"]
  const data = ["--data", join(root, "examples/data/jargon.jsonl"), "--max-length", "32", "--batch-size", "4"]
  const rest = ["--steps", "4", "--learning-rate", "1e-3", "--compute", compute, "--out", out, "--json"]
  return { out, outcome: start(["train", ...model, ...data, ...rest], { env: { GRAFT_ISA: isa } }).outcome }
}

for (const compute of ["f32", "bf16"] as const) {
  test(`every instruction set trains to the same losses, in ${compute}`, native, async () => {
    const { isas } = loadNative().info()
    const wanted: Array<number> = []
    for (const isa of isas) {
      const { out, outcome } = train(isa, compute)
      const { code, stdout, stderr } = await outcome
      assert.equal(code, 0, stderr)
      const parts = jsonLines(stdout).find(({ event }) => event === "Plan")?.parts
      assert.ok(String(parts).includes(`backend-cpu (${isa}, `), String(parts))
      const steps = jsonLines(readFileSync(join(out, "metrics.jsonl"), "utf8"))
      const numbers = steps.flatMap(({ loss, gradNorm }) => [Number(loss), Number(gradNorm)])
      assert.equal(numbers.length, 8)
      if (wanted.length === 0) wanted.push(...numbers) // those of the scalar code, which reads like the formulas
      const tolerance = compute === "f32" ? 2e-4 : 3e-2
      for (const [i, n] of numbers.entries())
        assert.ok(Math.abs(n / wanted[i]! - 1) < tolerance, `${isa}: ${numbers}; scalar: ${wanted}`)
    }
  })
}

test(
  "an instruction set that this machine lacks, or that nobody has, is refused before anything is read",
  native,
  async () => {
    const { isas } = loadNative().info()
    const missing = ["avx512bf16", "neonbf16"].find((isa) => !isas.includes(isa))! // no machine has both
    for (const [isa, why] of [
      [missing, "not available on this machine"],
      ["mmx", "unknown"]
    ] as const) {
      const { code, stderr } = await train(isa, "f32").outcome
      assert.equal(code, 1)
      const message = String(jsonLines(stderr).at(-1)!.message)
      assert.match(message, new RegExp(`^GRAFT_ISA: instruction set "${isa}" is ${why}; choose one of scalar, `))
      assert.doesNotMatch(message, /internal|backend-cpu\/src/)
    }
  }
)
