/** A command's bytes are those that it touches: windows of rows, gathered rows, once each. */
import assert from "node:assert/strict"
import test from "node:test"
import {
  addScaled,
  type Command,
  denseCodec,
  gemm,
  MetaQueue,
  oneArena,
  plainGemm,
  Scope,
  sourceOf,
  takeRows
} from "@graft/core"
import { workOf } from "./workOf.ts"

class LastCommand extends MetaQueue {
  last: Command | undefined
  protected override submit(command: Command): void {
    super.submit(command)
    this.last = command
  }
  get work() {
    return workOf(this.last!, () => 0)
  }
}
const [OUT, IN, TOKENS] = [100, 16, 8]

test("bytes as far as a command touches its operands", () => {
  const queue = new LastCommand(oneArena("meta"))
  const scope = new Scope(queue, "activations")
  const tensor = (name: string, rows: number, columns: number, dtype: "f32" | "bf16" | "i32" = "f32") => {
    const t = scope.tensor([rows, columns], name, dtype)
    queue.upload(t, () => [])
    return t
  }
  const [x, y, ids] = [tensor("x", TOKENS, IN), tensor("y", TOKENS, OUT, "bf16"), tensor("ids", TOKENS, 1, "i32")]

  queue.enqueue(addScaled, [x, x], { width: IN, rows: 2, outRow: 1, xRow: 4, scale: 1, accumulate: false })
  assert.deepEqual(queue.work, { flops: 0, bytes: 4 * (2 * IN + 2 * IN) })

  const [part, all] = [tensor("part", 3, IN), tensor("all", TOKENS, IN)]
  queue.enqueue(takeRows, [part, all, ids], { from: 0, limit: TOKENS })
  assert.equal(queue.work.bytes, 4 * (3 * IN + 3 * IN + TOKENS))

  queue.enqueue(gemm, [tensor("out", 5, 5), all, all], { ...plainGemm, m: 2, k: IN, n: 5, tb: true, aRow: 6 })
  assert.deepEqual(queue.work, { flops: 2 * 2 * IN * 5, bytes: 4 * (2 * 5 + 2 * IN + IN * 5) })

  const weight = denseCodec("bf16").encode(
    sourceOf("w", [OUT, IN], () => new Float32Array(OUT * IN)),
    scope,
    "w"
  )
  weight.gatherRows(x, ids)
  assert.equal(queue.work.bytes, 4 * TOKENS * IN + 4 * TOKENS + 2 * TOKENS * IN, "not the whole table")
  weight.apply(y, x, { rows: 3, xRow: 1, yRow: 5 })
  assert.deepEqual(queue.work, { flops: 2 * 3 * OUT * IN, bytes: 2 * 3 * OUT + 4 * 3 * IN + 2 * OUT * IN })
})
