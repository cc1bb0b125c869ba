import assert from "node:assert/strict"
import { test } from "node:test"
import { ReferenceQueue, Scope } from "@graft/core"
import { parameterPieces } from "./parameterPieces.ts"

test("many elements go in pieces of at most 4 MiB, each to its place", { timeout: 60_000 }, async () => {
  const queue = new ReferenceQueue([2 ** 26])
  using scope = new Scope(queue, "adapters")
  const size = 2 ** 20 + 3
  const [from, to] = [scope.tensor([size], "from"), scope.tensor([size], "to")]
  queue.upload(from, () => Float32Array.from({ length: size }, (_, i) => i % 8191))
  queue.upload(to, () => new Float32Array(size))
  const [taken, given] = [parameterPieces(queue, "p", from), parameterPieces(queue, "p", to)]
  assert.deepEqual(
    taken.map(({ name, bytes }) => [name, bytes]),
    [
      ["p.0", 2 ** 22],
      ["p.1", 12]
    ]
  )
  for (const [i, piece] of taken.entries()) {
    const bytes = await piece.read()
    await given[i]!.write(() => bytes)
  }
  const [wanted, got] = [await queue.readBytes(from), await queue.readBytes(to)]
  assert.equal(Buffer.compare(got, wanted), 0)
})
