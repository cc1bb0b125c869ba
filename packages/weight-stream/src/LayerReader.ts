/**
 * Layers of files into frames: the obvious version, which reads a layer when it is wanted. The native store
 * (native/layerStore.h) does the same ahead of time, on threads of its own and past the page cache.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import type { PageTraffic } from "@graft/core"

export interface FileOnDisk {
  readonly path: string
  readonly size: number
}
/** Bytes [offset, offset + bytes) of file number `file`, which lie at `to` in a frame. */
export interface Segment {
  readonly file: number
  readonly offset: number
  readonly bytes: number
  readonly to: number
}

const noTraffic: PageTraffic = { faults: 0, hits: 0, bytesIn: 0, bytesOut: 0, stallSeconds: 0 }

interface OpenFile extends FileOnDisk {
  readonly descriptor: number
  readonly changed: number
}
export class LayerReader {
  readonly #files: ReadonlyArray<OpenFile>
  readonly #layers: ReadonlyArray<ReadonlyArray<Segment>>
  readonly #held = new Map<number, number>()
  #traffic: { -readonly [K in keyof PageTraffic]: PageTraffic[K] } = { ...noTraffic }

  constructor(files: ReadonlyArray<FileOnDisk>, layers: ReadonlyArray<ReadonlyArray<Segment>>) {
    this.#layers = layers
    this.#files = files.map(({ path, size }) => {
      const descriptor = openSync(path, "r")
      const found = fstatSync(descriptor)
      if (found.size !== size)
        throw new RangeError(`${path} cannot be streamed: it was changed since it was looked at; prepare it again`)
      return { path, size, descriptor, changed: found.mtimeMs }
    })
  }
  /** Afterwards frame `frame`, whose memory is `memory`, holds `layer`. */
  bring(frame: number, memory: Uint8Array, layer: number): void {
    if (this.#held.get(frame) === layer) {
      this.#traffic.hits++
      return
    }
    const since = performance.now()
    const files = new Set<OpenFile>()
    for (const { file, offset, bytes, to } of this.#layers[layer]!) {
      const from = this.#files[file]!
      files.add(from)
      for (let done = 0; done < bytes; ) {
        const got = readSync(from.descriptor, memory, to + done, bytes - done, offset + done)
        if (got === 0) throw failed(layer, from, "cut")
        done += got
      }
      this.#traffic.bytesIn += bytes
    }
    for (const file of files) {
      const { size, mtimeMs } = fstatSync(file.descriptor)
      if (size !== file.size || mtimeMs !== file.changed) throw failed(layer, file, "changed")
    }
    this.#held.set(frame, layer)
    this.#traffic.faults++
    this.#traffic.stallSeconds += (performance.now() - since) / 1000
  }
  /** What has moved since it was last asked. */
  takeTraffic(): PageTraffic {
    const moved = this.#traffic
    this.#traffic = { ...noTraffic }
    return moved
  }
  close(): void {
    for (const { descriptor } of this.#files) closeSync(descriptor)
  }
}
const failed = (layer: number, { path }: FileOnDisk, how: string): RangeError =>
  new RangeError(`reading layer ${layer} from ${path}: it was ${how} while the run used it; prepare it again`)
