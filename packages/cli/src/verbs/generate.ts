/** `graft generate`: text from a prompt, shown as it is made. */
import { DeviceError } from "@graft/core"
import { generate as continueFrom, type OpenedModel, planGeneration, StreamDecoder } from "@graft/llama-loader"
import { Effect, Stream } from "effect"
import type { GenerateInput } from "../flags/generateFlags.ts"
import { InvalidInput } from "../problems.ts"
import { rate } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { styled } from "../show/styled.ts"
import { withAddedTokens } from "../stack/addedTokens.ts"
import { assemblyOf, openAssembled, preparedAssembly } from "../stack/assembly.ts"
import { openNamed } from "../stack/openNamed.ts"
import { promptOf } from "../stack/promptOf.ts"

export const generate = Effect.fnUntraced(function* (input: GenerateInput) {
  const opened = yield* openNamed(input.model, makeScreen(false, process.stderr))
  const model = yield* withAddedTokens(opened, input)
  const prompt = yield* promptOf(input, model)
  const { maxPositions } = model.config
  if (prompt.length >= maxPositions) {
    return yield* new InvalidInput({
      message: `the prompt has ${prompt.length} tokens, and ${model.path} has ${maxPositions} positions, of which one at least must be left for the answer; shorten it`
    })
  }
  yield* Effect.provide(
    write(input, model, prompt),
    yield* preparedAssembly(input, opened, makeScreen(false, process.stderr))
  )
}, Effect.scoped)

const write = Effect.fnUntraced(function* (input: GenerateInput, model: OpenedModel, prompt: ReadonlyArray<number>) {
  const screen = makeScreen(input.json)
  const { backend, assembly, engine } = yield* assemblyOf(input)
  const maxNewTokens = Math.min(input.maxNewTokens, model.config.maxPositions - prompt.length)
  const memory = planGeneration(backend.limits, assembly, engine, prompt.length, prompt.length + maxNewTokens)
  const { queue, model: loaded } = yield* openAssembled(screen, backend, assembly, memory)

  const { temperature, topK, topP, seed } = input
  const { tokenizer, stopIds } = model
  const decoder = tokenizer === undefined ? undefined : new StreamDecoder(tokenizer)
  const show = (text: string) => {
    if (!input.json) process.stdout.write(text)
  }
  const ids: Array<number> = []
  let text = ""
  const began = performance.now()
  let first = began
  yield* Stream.runForEach(
    Stream.fromAsyncIterable(
      continueFrom(queue, loaded, engine, prompt, { temperature, topK, topP, seed, maxNewTokens, stopIds }),
      DeviceError.from
    ),
    (id) =>
      Effect.sync(() => {
        if (ids.length === 0) first = performance.now()
        const piece = decoder === undefined ? `${ids.length > 0 ? "," : ""}${id}` : decoder.push(id)
        ids.push(id)
        text += piece
        show(piece)
      })
  )
  const rest = decoder?.end() ?? ""
  show(`${rest}\n`)
  const now = performance.now()
  const tokensPerSecond = ids.length > 1 ? (1000 * (ids.length - 1)) / (now - first) : 0
  const finish = ids.length < maxNewTokens ? "stop" : "length"
  if (!input.json && process.stderr.isTTY) {
    const promptRate = (1000 * prompt.length) / (first - began)
    process.stderr.write(
      styled(process.stderr).faint(
        `prompt ${prompt.length} tokens, ${rate(promptRate)} tokens/s; ${ids.length} made, ${rate(tokensPerSecond)} tokens/s, ended by ${finish}\n`
      )
    )
  }
  screen.event({ event: "Generated", text: text + rest, ids, promptTokens: prompt.length, finish, tokensPerSecond })
})
