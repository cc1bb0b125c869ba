/**
 * A loaded model whose layers come and go: their frozen tensors keep their identity and lie in frames while their layer runs.
 * What has no file of its own (a scalar from a text) or belongs to no layer is made resident.
 */
import { statSync } from "node:fs"
import {
  alwaysResident,
  type Cell,
  type Model,
  type Queue,
  RESIDENCY,
  type Residency,
  Scope,
  Tensor
} from "@graft/core"
import type { FileOnDisk, Segment } from "./LayerReader.ts"
import { FEWEST_FRAMES, type LayerFrames, layerFrames } from "./layerFrames.ts"
import { StreamedWeight } from "./streamedWeight.ts"
import {
  bringLayer,
  encodeTable,
  library,
  openStream,
  prefetchLayer,
  TRAFFIC_BYTES,
  tableBytes,
  takeTraffic,
  trafficOf
} from "./streamKernels.ts"
import { WeightStreamError } from "./WeightStreamError.ts"

interface Place {
  readonly tensor: Tensor
  readonly to: number
}
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`

/** Whose bytes are in no memory yet. */
const deferredOf = ({ linears }: Model, layer: string): ReadonlyArray<Tensor> =>
  linears
    .under(`${layer}.`)
    .flatMap(({ weight }) => (weight instanceof Tensor ? [] : weight.storage))
    .filter((tensor) => tensor.state === "ghost")

const makeResident = (queue: Queue, tensor: Tensor): void => {
  tensor.moveTo(queue.allocate(tensor.bytes, "weights"))
  if (tensor.source !== undefined) queue.uploadSource(tensor, tensor.source)
}

/** `residentBefore`: bytes of weights before this model was loaded. `opened` is told what to close. @throws WeightStreamError */
export const streamModel = (
  queue: Queue,
  scope: Scope,
  model: Model,
  memoryBytes: number,
  residentBefore: number,
  opened: (store: number) => void
): Model => {
  const { alignment, views } = queue.limits
  if (!views)
    throw new WeightStreamError({
      reason: "source",
      message: `${queue.limits.device} cannot use parts of a buffer, and weights stream through those; take another backend, or no budget of weights`
    })
  const up = (bytes: number): number => Math.ceil(bytes / alignment) * alignment
  const layers = model.description.layers.map((layer) => {
    let bytes = 0
    const places: Array<Place> = []
    for (const tensor of deferredOf(model, layer)) {
      if (tensor.source !== undefined && tensor.source.file === undefined && tensor.bytes < alignment)
        makeResident(queue, tensor)
      else {
        places.push({ tensor, to: bytes })
        tensor.moveTo(undefined)
        bytes += up(tensor.bytes)
      }
    }
    return { places, bytes }
  })
  const frameBytes = Math.max(...layers.map(({ bytes }) => bytes))
  if (!(frameBytes > 0))
    throw new WeightStreamError({
      reason: "source",
      message: `${model.description.name} has no frozen layer that could stream; leave the budget of weights out`
    })
  const resident = (queue.allocator.live.get("weights") ?? 0) - residentBefore
  const room = Math.floor((memoryBytes - resident) / frameBytes)
  const fewest = Math.min(FEWEST_FRAMES, layers.length)
  if (room < fewest) {
    const smallest = resident + fewest * frameBytes
    throw new WeightStreamError({
      reason: "budget",
      smallest,
      message: `the frozen weights of ${model.description.name} take at least ${megabytes(smallest)} (${megabytes(resident)} beside the layers, and ${fewest} layers of ${megabytes(frameBytes)}), and the budget is ${megabytes(memoryBytes)}; give at least ${smallest} bytes`
    })
  }
  const frames = layerFrames(layers.length, Math.min(room, layers.length))
  queue.useLibrary(library)
  const store = crypto.getRandomValues(new Uint32Array(1))[0]!
  const memory = Array.from({ length: frames.frames }, (_, i) => {
    const frame = scope.tensor([frameBytes], `streamed layers, frame ${i}`, "u8", "streamed")
    if (frame.cell !== undefined) frame.cell.written = true // whole before anything reads it: `bring` waits for that
    return frame
  })
  opened(store)
  openOn(queue, store, layers, frames.frames)
  const { stream, hold } = residencyOf(queue, store, model, layers, frames, memory)
  for (const layer of model.description.layers)
    for (const { path, weight } of model.linears.under(`${layer}.`))
      if (!(weight instanceof Tensor) && weight.storage.some(({ state }) => state === "evicted")) {
        const streamed = new StreamedWeight(weight, (body) => hold(layer, body))
        model.linears.replace(path, (below) => ({ path, weight: streamed, forward: below.forward }))
      }
  const traffic = scope.tensor([TRAFFIC_BYTES], "stream traffic", "u8", "streamed")
  queue.upload(traffic, () => new Uint8Array(TRAFFIC_BYTES))
  return {
    description: model.description,
    linears: model.linears,
    get head() {
      return model.head
    },
    get trained() {
      return model.trained
    },
    bindTrained: (parameter) => model.bindTrained(parameter),
    forward: (g, batch, options = {}) => {
      const { residency = alwaysResident } = options
      return model.forward(g, batch, { ...options, residency: residency === alwaysResident ? stream : residency })
    },
    traffic: async () => {
      queue.enqueue(takeTraffic, [traffic], { store })
      return trafficOf(await queue.readBytes(traffic))
    }
  }
}

const openOn = (
  queue: Queue,
  store: number,
  layers: ReadonlyArray<{ readonly places: ReadonlyArray<Place> }>,
  frames: number
): void => {
  const paths = new Map<string, number>()
  const segments = layers.map(({ places }) =>
    places.map(({ tensor, to }): Segment => {
      const { path = "", offset = 0 } = tensor.source?.file ?? {} // neither where only shapes are known
      if (!paths.has(path)) paths.set(path, paths.size)
      return { file: paths.get(path)!, offset, bytes: tensor.bytes, to }
    })
  )
  const sizes = { files: paths.size, layers: layers.length, segments: segments.flat().length }
  using opening = new Scope(queue, "workspace")
  const table = opening.tensor([tableBytes(sizes)], "stream of weights", "u8")
  queue.upload(table, () => encodeTable([...paths.keys()].map(lookAt(segments)), segments))
  queue.enqueue(openStream, [table], { store, ...sizes, frames })
}
/** A file as it is now: all that is wanted of it must be there. */
const lookAt =
  (segments: ReadonlyArray<ReadonlyArray<Segment>>) =>
  (path: string, file: number): FileOnDisk => {
    const fail = (problem: string) =>
      new WeightStreamError({ reason: "file", message: `${path} cannot be streamed: ${problem}; prepare it again` })
    let size: number
    try {
      size = statSync(path).size
    } catch (cause) {
      throw fail(cause instanceof Error ? cause.message : String(cause))
    }
    const end = Math.max(...segments.flat().map((s) => (s.file === file ? s.offset + s.bytes : 0)))
    if (size < end) throw fail(`it has ${size} bytes, and its layers end at ${end}`)
    return { path, size }
  }

const residencyOf = (
  queue: Queue,
  store: number,
  { description }: Model,
  layers: ReadonlyArray<{ readonly places: ReadonlyArray<Place> }>,
  frames: LayerFrames,
  memory: ReadonlyArray<Tensor>
) => {
  const indexOf = new Map(description.layers.map((layer, i) => [layer, i]))
  const last = layers.length - 1
  const cells = layers.map(({ places }, layer) => {
    const { cell } = memory[frames.frameOf(layer)]!
    return places.map(({ tensor, to }): Cell | undefined =>
      cell === undefined ? undefined : { ...cell, offset: cell.offset + to, bytes: tensor.bytes, written: true }
    )
  })
  /** Those of a profile and of a run's identity: which layers stream is no part of what is computed. */
  const enqueue = (kernel: typeof bringLayer, layer: number): void => {
    const { origin } = queue
    queue.origin = RESIDENCY
    const frame = frames.frameOf(layer)
    queue.enqueue(kernel, [memory[frame]!], { store, frame, layer })
    queue.origin = origin
  }
  for (const layer of frames.firsts) enqueue(prefetchLayer, layer)

  const come = (layer: number): void => {
    enqueue(bringLayer, layer)
    for (const [i, { tensor }] of layers[layer]!.places.entries()) tensor.moveTo(cells[layer]![i])
  }
  const go = (layer: number): void => {
    for (const { tensor } of layers[layer]!.places) tensor.moveTo(undefined)
  }
  let previous: number | undefined
  let direction: 1 | -1 = 1
  /** Whether a forward pass came behind a forward pass: evaluation, generation. A wrong guess costs time alone. */
  let repeats = false
  const stream: Residency = {
    enter: (name) => {
      const layer = indexOf.get(name)!
      const turned = layer === previous
      if (layer === 0 && previous === last && direction === 1 && !turned) repeats = true
      else if (turned) {
        direction = layer === 0 ? 1 : -1
        if (layer === last) repeats = false
      } else if (previous !== undefined && !(layer === 0 && direction === -1)) direction = layer > previous ? 1 : -1
      previous = layer
      come(layer)
    },
    leave: (name) => {
      const layer = indexOf.get(name)!
      go(layer)
      const next = frames.next(layer, direction, repeats)
      if (next !== undefined) enqueue(prefetchLayer, next)
    }
  }
  /** For what is no pass: nothing follows from it. */
  const hold = (name: string, body: () => void): void => {
    const layer = indexOf.get(name)!
    come(layer)
    try {
      body()
    } finally {
      go(layer)
    }
  }
  return { stream, hold }
}
