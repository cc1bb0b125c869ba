/** `graft logits`: token ids in safetensors to logits in safetensors, a few rows in memory at a time. */
import { dirname } from "node:path"
import { DeviceError, type MicroBatch } from "@graft/core"
import {
  FileError,
  fromThrowing,
  integersOf,
  openSafetensors,
  SafetensorsError,
  writeSafetensors
} from "@graft/safetensors"
import { Effect } from "effect"
import type { LogitsInput } from "../flags/logitsFlags.ts"
import { InvalidInput } from "../problems.ts"
import { bytes, duration, whole } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { withAddedTokens } from "../stack/addedTokens.ts"
import { assemblyOf, openAssembled, preparedAssembly } from "../stack/assembly.ts"
import { forwardPass, planForward, rowsAtOnce } from "../stack/forwardPass.ts"
import { openNamed } from "../stack/openNamed.ts"
import { requireWritable } from "../stack/requireWritable.ts"

interface Ids {
  readonly batch: number
  readonly tokens: number
  readonly values: ReadonlyArray<number>
}

export const logits = Effect.fnUntraced(function* (input: LogitsInput) {
  yield* requireWritable(dirname(input.out))
  const opened = yield* openNamed(input.model, makeScreen(false, process.stderr))
  const model = yield* withAddedTokens(opened, input)
  const ids = yield* readIds(input.ids, model.config.vocabularySize, model.config.maxPositions)
  yield* Effect.provide(write(input, ids), yield* preparedAssembly(input, opened, makeScreen(false, process.stderr)))
}, Effect.scoped)

const readIds = (path: string, vocabularySize: number, positions: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const file = yield* openSafetensors(path)
      const fail = (problem: string) => new InvalidInput({ message: `${path}: ${problem}` })
      const tensor = file.tensors.get("input_ids")
      if (tensor === undefined)
        return yield* fail(`it has no tensor input_ids; there are ${file.names.join(", ") || "none"}`)
      const [batch, tokens] = tensor.shape
      if (tensor.shape.length !== 2 || batch === undefined || tokens === undefined || batch * tokens === 0)
        return yield* fail(`input_ids is [${tensor.shape.join(", ")}]; wanted [batch, tokens] with both above 0`)
      if (tokens > positions)
        return yield* fail(
          `input_ids has ${tokens} tokens a sequence, and the model has ${positions} positions; give shorter ones`
        )
      const values = yield* fromThrowing<ReadonlyArray<number>, SafetensorsError | FileError>(
        [SafetensorsError, FileError],
        () => integersOf(tensor)
      )
      const wrong = values.findIndex((id) => id < 0 || id >= vocabularySize)
      if (wrong >= 0)
        return yield* fail(
          `input_ids[${Math.floor(wrong / tokens)}, ${wrong % tokens}] is ${values[wrong]}, outside of the vocabulary of ${vocabularySize}; tokenise for this model`
        )
      return { batch, tokens, values } satisfies Ids
    })
  )

const write = Effect.fnUntraced(function* (input: LogitsInput, { batch, tokens, values }: Ids) {
  const screen = makeScreen(input.json)
  const { backend, assembly, engine, description } = yield* assemblyOf(input)
  const sequence = (row: number): MicroBatch => {
    const ids = values.slice(row * tokens, (row + 1) * tokens)
    return [{ sample: row, ids, targets: ids.map(() => -1) }]
  }
  const memory = planForward(backend.limits, assembly, engine, [sequence(0)])
  const { queue, model } = yield* openAssembled(screen, backend, assembly, memory)
  const began = performance.now()
  const chunk = rowsAtOnce(description.vocabularySize)
  let failure: unknown

  async function* chunks() {
    try {
      for (let row = 0; row < batch; row++) {
        using pass = forwardPass(queue, model, engine, sequence(row))
        for (let at = 0; at < tokens; at += chunk) {
          const read = await pass.logits(at, Math.min(chunk, tokens - at))
          yield new Uint8Array(read.buffer, read.byteOffset, read.byteLength)
        }
        screen.live(`sequence ${row + 1} of ${batch}`)
      }
    } catch (cause) {
      failure = cause
      throw cause
    }
  }
  const shape = [batch, tokens, description.vocabularySize]
  yield* writeSafetensors(input.out, [{ name: "logits", dtype: "F32", shape, read: chunks }]).pipe(
    // What the device says comes as a defect of the writer.
    Effect.catchDefect((defect) => (defect === failure ? Effect.fail(DeviceError.from(defect)) : Effect.die(defect)))
  )
  const seconds = (performance.now() - began) / 1000
  screen.say(
    `${input.out}: logits f32 [${shape.join(", ")}], ${bytes(4 * batch * tokens * description.vocabularySize)}`
  )
  screen.say(`${whole(batch * tokens)} tokens in ${duration(seconds)}, ${engine.compute}`)
  screen.event({ event: "Logits", path: input.out, shape, compute: engine.compute, seconds })
})
