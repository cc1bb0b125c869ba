/** Text that goes on from a prompt, token by token. */
import {
  type ActivationDType,
  assemble,
  type Limits,
  loadAtOnce,
  type MemoryPlan,
  MetaQueue,
  type Overrides,
  type Queue,
  Scope
} from "@graft/core"
import { makeDecoder } from "./decoding.ts"
import { type Sampling, sample } from "./sampling.ts"

export interface GenerateOptions extends Sampling {
  readonly maxNewTokens: number
  /** Any of these ends the text; it is not part of it. */
  readonly stopIds: ReadonlyArray<number>
}
type Assembly = Parameters<typeof assemble>[2]
interface Engine {
  readonly compute: ActivationDType
  readonly overrides: Overrides
}

/** Memory of a prompt and what may follow it. */
export const planGeneration = (
  limits: Limits,
  assembly: Assembly,
  engine: Engine,
  promptTokens: number,
  capacity: number
): MemoryPlan => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "weights")
  const { model } = loadAtOnce(assemble(queue, scope, assembly))
  using decoder = makeDecoder(queue, model, { ...engine, capacity })
  for (const tokens of capacity > promptTokens ? [promptTokens, 1] : [promptTokens]) {
    decoder.feed(Array<number>(tokens).fill(0)).catch(() => {}) // the meta queue has no values
  }
  return queue.plan
}

/** Yields the tokens after `prompt`, each once it is chosen. */
export async function* generate(
  queue: Queue,
  model: Parameters<typeof makeDecoder>[1],
  engine: Engine,
  prompt: ReadonlyArray<number>,
  options: GenerateOptions
): AsyncGenerator<number, void, void> {
  const capacity = prompt.length + options.maxNewTokens
  const decoder = makeDecoder(queue, model, { ...engine, capacity })
  try {
    let fed = prompt
    for (let made = 0; made < options.maxNewTokens; made++) {
      const id = sample(await decoder.feed(fed), options, prompt.length + made)
      if (options.stopIds.includes(id)) return
      yield id
      fed = [id]
    }
  } finally {
    decoder[Symbol.dispose]()
  }
}
