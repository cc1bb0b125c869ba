/**
 * Trained tensors as an adapter's files are made of them: read a part at a time through one buffer, which all of a session
 * share, so that a save takes these few MiB, however much is trained.
 */
import type { ParameterArena, Queue, SavedParameter, Tensor } from "@graft/core"

const BUFFER_BYTES = 2 ** 20

export const savedParameters = (queue: Queue, { entries }: ParameterArena): ReadonlyArray<SavedParameter> => {
  let buffer: Uint8Array | undefined
  return entries.map(([path, t]) => ({
    path,
    shape: t.shape,
    values: () => queue.read(t),
    parts: async function* () {
      buffer ??= new Uint8Array(BUFFER_BYTES)
      for (const part of partsOf(queue, t)) {
        const fits = part.bytes <= buffer.byteLength // a tensor that has no views is read whole
        yield await queue.readBytes(part, fits ? buffer.subarray(0, part.bytes) : new Uint8Array(part.bytes))
      }
    }
  }))
}

const partsOf = (queue: Queue, t: Tensor): ReadonlyArray<Tensor> => {
  if (!queue.limits.views || t.bytes <= BUFFER_BYTES) return [t]
  const elements = BUFFER_BYTES / 4 // f32
  return Array.from({ length: Math.ceil(t.size / elements) }, (_, i) => {
    const start = i * elements
    return t.range(start, [Math.min(elements, t.size - start)], `${t.name}, from ${start}`)
  })
}
