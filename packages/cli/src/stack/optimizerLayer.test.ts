import assert from "node:assert/strict"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { Optimizer } from "@graft/core"
import { Effect, Exit } from "effect"
import { bytesOfSize } from "../flags/byteSize.ts"
import { optimizerLayer, optimizerNamed } from "./optimizerLayer.ts"

test("our names, TRL's and bitsandbytes' are one optimiser", () => {
  const of = (family: string, bits: number, paged: boolean) => ({ family, bits, paged })
  for (const [name, wanted] of [
    ["adamw", of("adamw", 32, false)],
    ["adamw_torch", of("adamw", 32, false)],
    ["adamw_torch_fused", of("adamw", 32, false)],
    ["adamw_8bit", of("adamw", 8, false)],
    ["adamw_bnb_8bit", of("adamw", 8, false)],
    ["AdamW8bit", of("adamw", 8, false)],
    ["paged_adamw_32bit", of("adamw", 32, true)],
    ["paged-adamw-8bit", of("adamw", 8, true)],
    ["PagedAdamW8bit", of("adamw", 8, true)],
    ["paged_lion_8bit", of("lion", 8, true)],
    ["lion_32bit", of("lion", 32, false)],
    ["sgd", of("sgd", 32, false)],
    ["adafactor", undefined],
    ["adamw-16bit", undefined]
  ] as const)
    assert.deepEqual(optimizerNamed(name), wanted, name)
})
test("sizes", () => {
  for (const [text, wanted] of [
    ["32MiB", 2 ** 25],
    ["64 kib", 2 ** 16],
    ["1.5GiB", 1.5 * 2 ** 30],
    ["500MB", 5e8],
    ["65536", 65_536],
    ["0", undefined],
    ["much", undefined],
    ["-1MiB", undefined]
  ] as const)
    assert.equal(bytesOfSize(text), wanted, text)
})
const none = {
  optimizer: "adamw",
  optimizerMemory: undefined,
  spillFolder: undefined,
  weightDecay: 0,
  adamBeta1: undefined,
  adamBeta2: undefined,
  adamEpsilon: undefined,
  momentum: undefined,
  loraPlusRatio: undefined,
  groupLearningRate: undefined,
  full: false
}
const built = (flags: Partial<typeof none> | Record<string, unknown>) =>
  optimizerLayer({ ...none, ...flags }, 2e-4).pipe(
    Effect.flatMap((layer) => Effect.provide(Optimizer, layer)),
    Effect.scoped,
    Effect.runPromiseExit
  )
test("a part says what was asked for", async () => {
  for (const [flags, wanted] of [
    [{}, "AdamW in 32 bits"],
    [{ optimizer: "paged_adamw_8bit" }, "AdamW in 8 bits, paged under 256 MiB"],
    [{ optimizer: "lion-8bit", optimizerMemory: 2 ** 25 }, "Lion in 8 bits, paged under 32 MiB"],
    [{ optimizer: "sgd", momentum: 0.5 }, "SGD in 32 bits"]
  ] as const) {
    const exit = await built(flags)
    assert.ok(Exit.isSuccess(exit))
    assert.equal(exit.value.part.name, wanted)
  }
})
test("what cannot be is refused, with what to do", async () => {
  for (const [flags, message] of [
    [{ optimizer: "adamv" }, /--optimizer is "adamv", did you mean adamw\?/],
    [{ optimizer: "sgd", adamBeta2: 0.9 }, /--adam-beta2 means nothing to sgd/],
    [{ spillFolder: tmpdir() }, /--spill-folder means nothing to adamw/],
    [{ full: true, loraPlusRatio: 16 }, /--lora-plus-ratio .* --full/],
    [{ optimizerMemory: 1000 }, /residentBytes is 1000, the least is 65536 \(64 KiB\)/],
    [{ optimizerMemory: 2 ** 20, spillFolder: join(tmpdir(), "no", "such") }, /spill folder .* does not exist/]
  ] as const) {
    const exit = await built(flags)
    assert.ok(Exit.isFailure(exit), `${message}`)
    assert.match(String(exit.cause), message)
  }
})
