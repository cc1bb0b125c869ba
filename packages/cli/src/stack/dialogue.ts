/**
 * A conversation on the device. Its keys and values stay; what is fed is only what came after them, in pieces of a few
 * sizes, so that memory can be planned for each.
 */
import {
  type Assembly,
  assemble,
  type Limits,
  loadAtOnce,
  type MemoryPlan,
  MetaQueue,
  type Model,
  type Queue,
  Scope
} from "@graft/core"
import { type Decoder, makeDecoder, type Sampling, sample } from "@graft/llama-loader"
import type { Engine } from "./forwardPass.ts"

const PIECES = [256, 32, 4, 1]

export const planDialogue = (limits: Limits, assembly: Assembly, engine: Engine, capacity: number): MemoryPlan => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "weights")
  const { model } = loadAtOnce(assemble(queue, scope, assembly))
  using decoder = makeDecoder(queue, model, { ...engine, capacity })
  for (const tokens of PIECES) {
    if (decoder.length + tokens <= capacity) decoder.feed(Array<number>(tokens).fill(0)).catch(() => {}) // the meta queue has no values
  }
  return queue.plan
}

export interface Dialogue extends Disposable {
  /** Goes on from `ids`, the whole conversation; yields until a stop token or `maxNewTokens`. */
  readonly answer: (
    ids: ReadonlyArray<number>,
    options: Sampling & { readonly maxNewTokens: number; readonly stopIds: ReadonlyArray<number> }
  ) => AsyncGenerator<number, void, void>
}

export const makeDialogue = (queue: Queue, model: Model, engine: Engine, capacity: number): Dialogue => {
  let decoder: Decoder | undefined
  let fed: Array<number> = []
  const start = (): Decoder => {
    decoder?.[Symbol.dispose]()
    fed = []
    decoder = makeDecoder(queue, model, { ...engine, capacity })
    return decoder
  }
  const feed = async (ids: ReadonlyArray<number>): Promise<Float32Array> => {
    const known = decoder !== undefined && fed.length < ids.length && fed.every((id, i) => ids[i] === id)
    const on = known ? decoder! : start()
    let logits = new Float32Array()
    while (fed.length < ids.length) {
      const size = PIECES.find((n) => n <= ids.length - fed.length)!
      const piece = ids.slice(fed.length, fed.length + size)
      fed.push(...piece)
      logits = new Float32Array(await on.feed(piece))
    }
    return logits
  }
  return {
    answer: async function* (ids, { maxNewTokens, stopIds, ...sampling }) {
      let all = ids
      for (let made = 0; made < maxNewTokens && all.length < capacity; made++) {
        const id = sample(await feed(all), sampling, all.length)
        if (stopIds.includes(id)) return
        yield id
        all = [...all, id]
      }
    },
    [Symbol.dispose]: () => decoder?.[Symbol.dispose]()
  }
}
