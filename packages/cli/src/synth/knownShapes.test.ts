import assert from "node:assert/strict"
import { test } from "node:test"
import { decodeHuggingFace, describeLlama, parameterCount } from "@graft/llama-loader"
import { knownShapes } from "./knownShapes.ts"

/** As the models' pages on the Hub count them. */
const published: Readonly<Record<string, number>> = {
  "llama-7b": 6_738_415_616,
  "llama-65b": 65_285_660_672,
  "llama-2-7b": 6_738_415_616,
  "llama-2-13b": 13_015_864_320,
  "llama-2-70b": 68_976_648_192,
  "llama-3.1-8b": 8_030_261_248,
  "mistral-7b-v0.1": 7_241_732_096,
  "qwen2.5-0.5b": 494_032_768,
  "qwen2.5-7b": 7_615_616_512,
  "qwen3-0.6b": 596_049_920,
  "qwen3-8b": 8_190_735_360,
  "smollm3-3b": 3_075_098_624,
  "phi-3-mini-4k": 3_821_079_552,
  "gemma-2-2b": 2_614_341_888,
  "gemma-2-9b": 9_241_705_984,
  "gemma-3-1b": 999_885_952
}

test("models that are known by name have the parameters that their makers count", () => {
  const counts = Object.entries(knownShapes).map(([name, raw]) => [name, parameterCount(decodeHuggingFace(name, raw))])
  assert.deepEqual(Object.fromEntries(counts), published)
})

test("targets are called as the family calls them", () => {
  const names = (known: string): ReadonlyArray<string> => {
    const { linears } = describeLlama(decodeHuggingFace(known, knownShapes[known]), known)
    return [...new Set(linears.map(({ path }) => path.slice(path.lastIndexOf(".") + 1)))]
  }
  assert.deepEqual(names("phi-3-mini-4k"), ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
  for (const known of ["mistral-7b-v0.1", "qwen2.5-7b", "qwen3-8b", "smollm3-3b", "gemma-2-9b", "gemma-3-1b"])
    assert.deepEqual(names(known), ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
})
