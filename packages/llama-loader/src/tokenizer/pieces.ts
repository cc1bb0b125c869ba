/** The bytes of each token, end to end: an object for each of them would take many times the bytes. */
export interface Pieces {
  readonly count: number
  /** A copy; `undefined` where there is no such id. */
  readonly of: (id: number) => Uint8Array | undefined
}

/** `pieceOf` is called once for each id, in order. */
export const piecesOf = (count: number, pieceOf: (id: number) => Uint8Array): Pieces => {
  const ends = new Uint32Array(count)
  let bytes = new Uint8Array(8 * count)
  let end = 0
  for (let id = 0; id < count; id++) {
    const piece = pieceOf(id)
    if (end + piece.length > bytes.length) bytes = grown(bytes, 2 * (end + piece.length))
    bytes.set(piece, end)
    end += piece.length
    ends[id] = end
  }
  return packed(bytes.slice(0, end), ends)
}

const grown = (bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> => {
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}

const packed = (bytes: Uint8Array, ends: Uint32Array): Pieces => ({
  count: ends.length,
  of: (id) => (ends[id] === undefined ? undefined : bytes.slice(ends[id - 1] ?? 0, ends[id]))
})
