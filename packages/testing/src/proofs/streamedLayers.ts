/**
 * A proof that weights larger than memory need nothing of core's inside: a residency that keeps each layer's frozen weights
 * in a file and reads them by position when the layer is entered. A streamed tensor keeps its identity and changes its cell.
 */
import { closeSync, fsyncSync, openSync, readSync, renameSync, writeSync } from "node:fs"
import { bytesOf, type Model, type Queue, type Residency, type SourceTensor, Tensor } from "@graft/core"

interface Place {
  readonly tensor: Tensor
  readonly offset: number
}
export interface StreamedLayers extends Residency {
  readonly bytes: number
  /** Layers that have memory now. */
  readonly resident: ReadonlySet<string>
  readonly close: () => void
}
const ALIGNMENT = 4096

/** Where each frozen tensor of each layer lies in the file: from shapes alone, so the plan knows it too. */
const layOut = ({ linears, description }: Model) => {
  let offset = 0
  const layers = new Map<string, ReadonlyArray<Place>>()
  for (const layer of description.layers) {
    const places: Array<Place> = []
    for (const { weight } of linears.under(`${layer}.`)) {
      if (weight instanceof Tensor) continue // trained: it stays
      for (const tensor of weight.storage) {
        places.push({ tensor, offset })
        offset = Math.ceil((offset + tensor.bytes) / ALIGNMENT) * ALIGNMENT
      }
    }
    layers.set(layer, places)
  }
  return { layers, bytes: offset }
}
const evict = (queue: Queue, tensor: Tensor): void => {
  if (tensor.cell !== undefined) queue.free(tensor.cell)
  tensor.moveTo(undefined)
}
const residencyOf = (
  queue: Queue,
  layers: ReadonlyMap<string, ReadonlyArray<Place>>,
  sourceOf: (place: Place) => SourceTensor
) => {
  const resident = new Set<string>()
  return {
    resident,
    enter: (layer: string) => {
      for (const place of layers.get(layer) ?? []) {
        place.tensor.moveTo(queue.allocate(place.tensor.bytes, "weights"))
        queue.uploadSource(place.tensor, sourceOf(place))
      }
      resident.add(layer)
    },
    leave: (layer: string) => {
      for (const { tensor } of layers.get(layer) ?? []) evict(queue, tensor)
      resident.delete(layer)
    }
  }
}

/** Writes the layers' weights to `path` and takes their memory away. */
export const streamLayers = async (queue: Queue, model: Model, path: string): Promise<StreamedLayers> => {
  const { layers, bytes } = layOut(model)
  const next = openSync(`${path}.next`, "w")
  try {
    for (const { tensor, offset } of [...layers.values()].flat())
      writeSync(next, await queue.readBytes(tensor), 0, tensor.bytes, offset)
    fsyncSync(next)
  } finally {
    closeSync(next)
  }
  renameSync(`${path}.next`, path)
  for (const { tensor } of [...layers.values()].flat()) evict(queue, tensor)
  const file = openSync(path, "r")
  const source = ({ tensor, offset }: Place): SourceTensor => ({
    name: tensor.name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    file: { path, offset, bytes: tensor.bytes },
    read: () => {
      const target = new Uint8Array(tensor.size * bytesOf[tensor.dtype])
      const got = readSync(file, target, 0, target.byteLength, offset)
      if (got !== target.byteLength)
        throw new RangeError(
          `${path} ends at byte ${offset + got}, ${tensor.name} needs ${target.byteLength} bytes from ${offset}; prepare it again`
        )
      return target
    }
  })
  return { ...residencyOf(queue, layers, source), bytes, close: () => closeSync(file) }
}
/** The same on the meta queue, where there is nothing to write or read. */
export const planStreaming = (queue: Queue, model: Model): Residency => {
  const { layers } = layOut(model)
  for (const { tensor } of [...layers.values()].flat()) evict(queue, tensor)
  return residencyOf(queue, layers, ({ tensor: { name, shape, dtype } }) => ({
    name,
    shape,
    dtype,
    read: () => {
      throw new TypeError("internal: a plan reads nothing")
    }
  }))
}
