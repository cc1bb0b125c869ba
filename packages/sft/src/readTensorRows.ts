/**
 * Rows already tokenised in a safetensors file, as training scripts leave their batches: an integer tensor `input_ids` (or
 * `batches`) of any rank, whose last axis is the sequence, and optionally `labels` and `attention_mask` of the same shape.
 */
import { integersOf, openSafetensors, type SafetensorsTensor } from "@graft/safetensors"
import { Effect, Exit, Scope } from "effect"
import { UnreadableData } from "./DataError.ts"
import type { RawRow } from "./RowFile.ts"

const some = 256 // rows at a time

export async function* readTensorRows(path: string, name: string): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const unreadable = (problem: string) => new UnreadableData({ file: name, problem })
  const scope = Scope.makeUnsafe()
  try {
    const file = await Effect.runPromise(
      openSafetensors(path).pipe(
        Scope.provide(scope),
        Effect.catch((error) => Effect.die(unreadable(error.message)))
      )
    )
    const ids = file.tensors.get("input_ids") ?? file.tensors.get("batches")
    if (ids === undefined) {
      throw unreadable(
        `it holds ${file.names.slice(0, 10).join(", ")}; wanted an integer tensor input_ids [rows, tokens]`
      )
    }
    const optional = ["labels", "attention_mask"].flatMap((column) => {
      const tensor = file.tensors.get(column)
      if (tensor === undefined) return []
      if (tensor.shape.join() !== ids.shape.join()) {
        throw unreadable(
          `${column} is [${tensor.shape.join(", ")}] and ${ids.name} [${ids.shape.join(", ")}]; wanted equal shapes`
        )
      }
      return [[column, tensor] as const]
    })
    const tokens = ids.shape.at(-1) ?? 0
    const rows = tokens === 0 ? 0 : ids.shape.reduce((product, size) => product * size, 1) / tokens
    for (let from = 0; from < rows; from += some) {
      const count = Math.min(some, rows - from)
      const columns = [["input_ids", ids] as const, ...optional].map(
        ([column, tensor]) => [column, rowsOf(tensor, from, count, tokens)] as const
      )
      yield Array.from({ length: count }, (_, i) => ({
        place: { file: name, unit: "row", number: from + i + 1 },
        value: Object.fromEntries(columns.map(([column, lists]) => [column, lists[i]]))
      }))
    }
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }

  function rowsOf(
    tensor: SafetensorsTensor,
    from: number,
    count: number,
    tokens: number
  ): ReadonlyArray<ReadonlyArray<number>> {
    const rowBytes = (tensor.bytes / tensor.shape.reduce((product, size) => product * size, 1)) * tokens
    let values: ReadonlyArray<number>
    try {
      values = integersOf({ ...tensor, read: () => tensor.read(from * rowBytes, count * rowBytes) })
    } catch (error) {
      throw unreadable(error instanceof Error ? error.message : String(error))
    }
    return Array.from({ length: count }, (_, i) => values.slice(i * tokens, (i + 1) * tokens))
  }
}
