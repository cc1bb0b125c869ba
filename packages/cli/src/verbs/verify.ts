/**
 * `graft verify`: the same GGUF and the same adapter in Graft and in another program, token by token over a text. Both see the
 * text's own tokens, whatever they would have said themselves.
 */
import { readFileSync, rmSync } from "node:fs"
import { mkdtemp } from "node:fs/promises"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"
import { DeviceError, type MicroBatch } from "@graft/core"
import { writeGguf } from "@graft/gguf"
import type { OpenedModel } from "@graft/llama-loader"
import { readAdapter } from "@graft/lora"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"
import { asStored } from "../flags/modelFlags.ts"
import type { VerifyInput } from "../flags/verifyFlags.ts"
import { InvalidInput } from "../problems.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { table } from "../show/table.ts"
import { assemblyLayer, assemblyOf, openAssembled } from "../stack/assembly.ts"
import { type Difference, differenceOf, probabilitiesOf } from "../stack/divergence.ts"
import { forwardPass, planForward, rowsAtOnce } from "../stack/forwardPass.ts"
import { ggufAdapter } from "../stack/ggufAdapter.ts"
import { type Judge, llamaCpp } from "../stack/llamaCpp.ts"
import { openNamed } from "../stack/openNamed.ts"
import { verificationText } from "./verificationText.ts"

/**
 * llama.cpp rounds activations to 8 bits for each product with quantised weights, which alone puts it some 3e-3 nat from the
 * product in f32. With an adapter it may be twice as far as without; over weights in f32 so far at most.
 */
const ROUNDING = 1e-3

export const verify = Effect.fnUntraced(function* (input: VerifyInput) {
  const screen = makeScreen(input.json)
  const { model: path, adapter: folder } = input
  if (!path.endsWith(".gguf"))
    return yield* new InvalidInput({ message: `${path} is no .gguf, and llama.cpp opens nothing else; name the GGUF` })
  const model = yield* openNamed(path)
  const adapter = yield* readAdapter(folder)
  const gguf = yield* ggufAdapter(adapter, folder, model)
  const ids = yield* tokensOf(model, input)
  const judge = yield* llamaCpp(path, input.threads ?? availableParallelism())
  const temporary = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => mkdtemp(join(tmpdir(), "graft-verify-")),
      catch: (cause) => fileError(tmpdir(), "write", cause)
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const file = join(temporary, "adapter.gguf")
  yield* writeGguf(file, gguf.metadata, gguf.tensors)

  const base = yield* ourLogits(screen, input, model, ids, undefined)
  const adapted = yield* ourLogits(screen, input, model, ids, folder)
  const without = yield* differences(screen, judge, ids, base, undefined)
  const withAdapter = yield* differences(screen, judge, ids, adapted, file)
  const changed = summaryOf(adapted.map((logits, i) => differenceOf(probabilitiesOf(logits), base[i]!)))
  screen.say(
    table([
      [`${ids.length} tokens`, "mean KL, nat", "largest", "best token the same"],
      row("llama.cpp ‖ Graft, without the adapter", without),
      row("llama.cpp ‖ Graft, with it", withAdapter),
      row("Graft with ‖ without it", changed)
    ])
  )
  screen.event({ event: "Verify", tokens: ids.length, without, withAdapter, changed })
  if (!(withAdapter.mean <= Math.max(ROUNDING, 2 * without.mean))) {
    return yield* new InvalidInput({
      message: `with the adapter llama.cpp is ${withAdapter.mean.toExponential(2)} nat from Graft, without it ${without.mean.toExponential(2)}; that is more than rounding explains`
    })
  }
  screen.say("the adapter does in llama.cpp what it does here, within rounding")
}, Effect.scoped)

const tokensOf = (model: OpenedModel, { text: path, tokens }: VerifyInput) =>
  Effect.gen(function* () {
    const { tokenizer } = model
    if (tokenizer === undefined)
      return yield* new InvalidInput({ message: `${model.path} has no tokenizer, and a text is to be predicted` })
    const text =
      path === undefined
        ? verificationText
        : yield* Effect.try({ try: () => readFileSync(path, "utf8"), catch: (e) => fileError(path, "read", e) })
    const ids = tokenizer.encode(text, { addSpecial: true }).slice(0, Math.min(tokens, model.config.maxPositions))
    return ids.length > 0 ? [...ids] : yield* new InvalidInput({ message: `${path} has no text` })
  })

/** f32 [vocabulary] of each place. */
const ourLogits = (
  screen: Screen,
  input: VerifyInput,
  model: OpenedModel,
  ids: ReadonlyArray<number>,
  adapter: string | undefined
) => {
  const run = Effect.gen(function* () {
    const { backend, assembly, engine, description } = yield* assemblyOf(input)
    const batch: MicroBatch = [{ sample: 0, ids, targets: ids.map(() => -1) }]
    const memory = planForward(backend.limits, assembly, engine, [batch])
    const { queue, model: loaded } = yield* openAssembled(screen, backend, assembly, memory)
    const all: Array<Float32Array> = []
    const chunk = rowsAtOnce(description.vocabularySize)
    yield* Effect.tryPromise({
      try: async () => {
        using pass = forwardPass(queue, loaded, engine, batch)
        for (let at = 0; at < ids.length; at += chunk) {
          const read = await pass.logits(at, Math.min(chunk, ids.length - at))
          for (let i = 0; i < read.length; i += description.vocabularySize)
            all.push(read.subarray(i, i + description.vocabularySize))
        }
      },
      catch: DeviceError.from
    })
    return all
  })
  return Effect.scoped(Effect.provide(run, assemblyLayer({ ...input, ...asStored, adapter }, model)))
}

const differences = Effect.fnUntraced(function* (
  screen: Screen,
  judge: Judge,
  ids: ReadonlyArray<number>,
  logits: ReadonlyArray<Float32Array>,
  adapter: string | undefined
) {
  const found: Array<Difference> = []
  yield* judge(ids, adapter, (place, probabilities) => {
    found.push(differenceOf(probabilities, logits[place]!))
    screen.live(`llama.cpp, token ${place + 1} of ${ids.length}`)
  })
  screen.live("")
  if (found.length < ids.length - 1)
    return yield* new InvalidInput({ message: `llama.cpp predicted after ${found.length} of ${ids.length} tokens` })
  return summaryOf(found)
})

interface Summary {
  readonly mean: number
  readonly largest: number
  /** Share of the places. */
  readonly sameBest: number
}
const summaryOf = (found: ReadonlyArray<Difference>): Summary => ({
  mean: found.reduce((sum, { divergence }) => sum + divergence, 0) / found.length,
  largest: found.reduce((most, { divergence }) => Math.max(most, divergence), 0),
  sameBest: found.filter(({ sameBest }) => sameBest).length / found.length
})

const row = (name: string, { mean, largest, sameBest }: Summary): ReadonlyArray<string> => [
  name,
  mean.toExponential(2),
  largest.toExponential(2),
  `${(100 * sameBest).toFixed(1)} %`
]
