/** `graft chat`: a conversation at the terminal. */
import { createInterface } from "node:readline/promises"
import { DeviceError } from "@graft/core"
import { type OpenedModel, StreamDecoder } from "@graft/llama-loader"
import type { ChatTemplate } from "@graft/sft"
import { Effect, Stream } from "effect"
import type { ChatInput } from "../flags/generateFlags.ts"
import { InvalidInput } from "../problems.ts"
import { makeScreen } from "../show/Screen.ts"
import { withAddedTokens } from "../stack/addedTokens.ts"
import { assemblyOf, openAssembled, preparedAssembly } from "../stack/assembly.ts"
import { makeDialogue, planDialogue } from "../stack/dialogue.ts"
import { openNamed } from "../stack/openNamed.ts"
import { type ChatMessages, encodeChat, requireTemplate, requireTokenizer } from "../stack/promptOf.ts"

/** Tokens of a conversation, where the model has more positions: keys and values take memory for each. */
const LONGEST = 4096

export const chat = Effect.fnUntraced(function* (input: ChatInput) {
  const opened = yield* openNamed(input.model, makeScreen(false, process.stderr))
  const model = yield* withAddedTokens(opened, input)
  const tokenizer = yield* requireTokenizer(model)
  const template = yield* requireTemplate(model, input)
  yield* Effect.provide(
    talk(input, model, template, () => new StreamDecoder(tokenizer)),
    yield* preparedAssembly(input, opened, makeScreen(false, process.stderr))
  )
}, Effect.scoped)

const talk = Effect.fnUntraced(function* (
  input: ChatInput,
  model: OpenedModel,
  template: ChatTemplate,
  decoder: () => StreamDecoder
) {
  const screen = makeScreen(false)
  const capacity = Math.min(model.config.maxPositions, LONGEST)
  const { backend, assembly, engine } = yield* assemblyOf(input)
  const memory = planDialogue(backend.limits, assembly, engine, capacity)
  const { queue, model: loaded } = yield* openAssembled(screen, backend, assembly, memory)
  const dialogue = yield* Effect.acquireDisposable(Effect.sync(() => makeDialogue(queue, loaded, engine, capacity)))
  const lines = yield* Effect.acquireRelease(
    Effect.sync(() => createInterface({ input: process.stdin, output: process.stdout })),
    (open) => Effect.sync(() => open.close())
  )
  // readline takes Ctrl-C for itself while it waits.
  lines.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
  const asked = lines[Symbol.asyncIterator]()
  const sampling = { temperature: input.temperature, topK: input.topK, topP: input.topP, seed: input.seed }
  let messages: ChatMessages = input.system === undefined ? [] : [{ role: "system", content: input.system }]
  for (;;) {
    process.stdout.write(screen.style.strong("> "))
    const next = yield* Effect.promise(() => asked.next())
    if (next.done === true || next.value.trim() === "") return
    messages = [...messages, { role: "user", content: next.value }]
    const ids = yield* encodeChat(model, template, messages)
    if (ids.length >= capacity) {
      return yield* new InvalidInput({
        message: `the conversation has ${ids.length} tokens, and ${capacity} is the most; begin a new one`
      })
    }
    const text = decoder()
    let answer = ""
    const say = (piece: string) => {
      answer += piece
      process.stdout.write(piece)
    }
    yield* Stream.runForEach(
      Stream.fromAsyncIterable(
        dialogue.answer(ids, { ...sampling, maxNewTokens: input.maxNewTokens, stopIds: model.stopIds }),
        DeviceError.from
      ),
      (id) => Effect.sync(() => say(text.push(id)))
    )
    say(text.end())
    process.stdout.write("\n")
    messages = [...messages, { role: "assistant", content: answer }]
  }
})
