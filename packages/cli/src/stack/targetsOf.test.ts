import assert from "node:assert/strict"
import { test } from "node:test"
import { targetsOf } from "./targetsOf.ts"

test("targets are all linears, names, or a regular expression by its signs", () => {
  assert.equal(targetsOf("all-linear"), "all-linear")
  assert.deepEqual(targetsOf("q_proj, v_proj,"), ["q_proj", "v_proj"])
  assert.deepEqual(targetsOf("model.layers.0.mlp.up_proj"), ["model.layers.0.mlp.up_proj"])
  assert.equal(targetsOf(".*\\.(q|v)_proj"), ".*\\.(q|v)_proj")
})
