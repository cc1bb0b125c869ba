/** A flat range of trained tensors as pieces of a checkpoint, 4 MiB each: a piece is read whole, through a buffer of its size. */
import { pieceOf, type Queue, type StatePiece, type Tensor } from "@graft/core"

const PIECE_ELEMENTS = 2 ** 20

/** Where there are no views, a tensor is a piece. */
export const parameterPieces = (queue: Queue, name: string, flat: Tensor): ReadonlyArray<StatePiece> => {
  if (!queue.limits.views || flat.size <= PIECE_ELEMENTS) return [pieceOf(queue, name, flat)]
  return Array.from({ length: Math.ceil(flat.size / PIECE_ELEMENTS) }, (_, i) => {
    const start = i * PIECE_ELEMENTS
    const part = flat.range(start, [Math.min(PIECE_ELEMENTS, flat.size - start)], `${flat.name}, from ${start}`)
    return pieceOf(queue, `${name}.${i}`, part)
  })
}
