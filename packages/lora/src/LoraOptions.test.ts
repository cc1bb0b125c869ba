import assert from "node:assert/strict"
import test from "node:test"
import { decodeOptions } from "@graft/core"
import { Effect } from "effect"
import { LoraOptions } from "./LoraOptions.ts"

test("a seed that the generator cannot take is refused, as in the trainer", async () => {
  const decode = decodeOptions("lora", LoraOptions)
  for (const seed of [2 ** 32, -1, 0.5])
    assert.match((await Effect.runPromise(Effect.flip(decode({ seed })))).message, /seed/, String(seed))
  assert.equal((await Effect.runPromise(decode({ seed: 2 ** 32 - 1 }))).seed, 2 ** 32 - 1)
})
