import assert from "node:assert/strict"
import { test } from "node:test"
import { Scope } from "@graft/core"
import { onReference } from "@graft/testing"
import { parameterPieces } from "./parameterPieces.ts"

test(
  "a range of many elements is read and written in pieces of at most 16 MiB, each at its place",
  { timeout: 60_000 },
  () =>
    onReference(async (queue) => {
      using scope = new Scope(queue, "adapters")
      const size = 2 ** 22 + 3
      const [from, to] = [scope.tensor([size], "from"), scope.tensor([size], "to")]
      queue.upload(from, () => Float32Array.from({ length: size }, (_, i) => i % 8191))
      queue.upload(to, () => new Float32Array(size))
      const [taken, given] = [parameterPieces(queue, "p", from), parameterPieces(queue, "p", to)]
      assert.deepEqual(
        taken.map(({ name, bytes }) => [name, bytes]),
        [
          ["p.0", 2 ** 24],
          ["p.1", 12]
        ]
      )
      for (const [i, piece] of taken.entries()) {
        const bytes = await piece.read()
        await given[i]!.write(() => bytes)
      }
      assert.deepEqual(await queue.read(to), await queue.read(from))
    })
)
