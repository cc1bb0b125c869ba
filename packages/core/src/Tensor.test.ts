import assert from "node:assert/strict"
import test from "node:test"
import { onReference } from "../../testing/src/onReference.ts"
import { randomTensor, randomValues } from "../../testing/src/tensorOf.ts"
import { add, fill } from "./reference/rows.ts"
import { Scope } from "./Tensor.ts"

test("every tensor has one owner; moving it outwards lets it live", () =>
  onReference(async (queue, outer) => {
    let kept: ReturnType<Scope["tensor"]> | undefined
    const mark = queue.allocator.liveBytes
    {
      using inner = new Scope(queue, "activations")
      kept = randomTensor(inner, "kept", [4], 1)
      const lost = inner.tensor([4], "lost")
      inner.move(kept, outer)
      assert.throws(() => inner.free(kept!), /internal: kept is freed by a scope that does not own it/)
      assert.equal(lost.state, "live")
      inner.free(lost)
      assert.equal(lost.state, "freed")
      assert.throws(() => inner.free(lost), ReferenceError)
    }
    assert.deepEqual([...(await queue.read(kept))], [...randomValues(4, 1)])
    assert.equal(queue.allocator.liveBytes, mark + 64)
  }))
test("a tensor that streams keeps its identity and changes its cell", () =>
  onReference(async (queue, scope) => {
    const t = randomTensor(scope, "w", [4], 1)
    const first = t.cell!
    queue.free(first)
    t.moveTo(undefined)
    assert.equal(t.state, "evicted")
    assert.throws(() => queue.enqueue(fill, [t], { value: 0 }), /w is not resident: use it between enter and leave/)
    t.moveTo(queue.allocate(t.bytes, "weights"))
    queue.upload(t, () => [1, 2, 3, 4])
    assert.deepEqual([...(await queue.read(t))], [1, 2, 3, 4])
    queue.free(t.cell!)
    t.moveTo(undefined)
    scope.free(t) // an evicted tensor has no memory to give back
    assert.equal(queue.allocator.liveBytes, 0)
  }))
test("what was enqueued before a tensor moved uses the cell it had then", () =>
  onReference(async (queue, scope) => {
    const [t, out] = [randomTensor(scope, "w", [4], 1), scope.tensor([4], "out")]
    queue.enqueue(add, [out, t, t], { scale: 1 })
    queue.free(t.cell!)
    t.moveTo(undefined)
    const other = scope.tensor([4], "other") // takes the cell
    queue.enqueue(fill, [other], { value: 9 })
    assert.deepEqual([...(await queue.read(out))], [...randomValues(4, 1).map((v) => 2 * v)])
  }))
test("rows and columns of any shape, empty ones too", () =>
  onReference(async (_, scope) => {
    const of = (shape: ReadonlyArray<number>) => {
      const t = scope.tensor(shape, "t", "bf16")
      return [t.rows, t.columns, t.size, t.bytes]
    }
    assert.deepEqual(of([3, 4, 2]), [3, 8, 24, 48])
    assert.deepEqual(of([5]), [5, 1, 5, 10])
    assert.deepEqual(of([]), [1, 1, 1, 2])
    assert.deepEqual(of([0, 4]), [0, 0, 0, 0])
    for (const shape of [[1.5], [NaN], [-1], [Infinity]])
      assert.throws(() => scope.tensor(shape, "t"), /is not a shape/)
  }))
