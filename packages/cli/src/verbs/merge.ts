/** `graft merge`: the model with its adapter multiplied in, written tensor by tensor, no more than one of them in memory. */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { Backend, bytesOf, DeviceError, narrow, sizeOf, widen } from "@graft/core"
import { describeLlama, expectedTensors, type OpenedModel, openModel } from "@graft/llama-loader"
import { chosenLinears, loraPlan, readAdapter } from "@graft/lora"
import { type CheckpointSource, torchNames, withMember } from "@graft/nf4-quant"
import { fileError, removeHalves, replaceFile, requireSpace, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import type { MergeInput } from "../flags/mergeFlags.ts"
import { InvalidInput } from "../problems.ts"
import { bytes, duration } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { withAddedTokens } from "../stack/addedTokens.ts"
import { backendLayer } from "../stack/backendLayer.ts"
import { checkpointSource } from "../stack/checkpointSource.ts"
import { type Merge, mergeLinear, planMerges } from "../stack/mergeAdapter.ts"
import { requireWritable } from "../stack/requireWritable.ts"

export const merge = Effect.fnUntraced(function* (input: MergeInput) {
  const { out } = input
  const screen = makeScreen(input.json)
  const base = yield* openModel(input.model)
  const model = yield* withAddedTokens(base, input)
  const adapter = yield* readAdapter(input.adapter)
  const description = describeLlama(model.config, model.path)
  const problem = loraPlan(adapter.options, adapter.values).check(description, "dense")
  if (problem !== undefined) return yield* new InvalidInput({ message: `${input.adapter}: ${problem}` })
  const source = yield* checkpointSource(model, [])
  if (existsSync(join(out, "config.json")))
    return yield* new InvalidInput({ message: `${out} holds a model already; name another folder` })
  yield* requireWritable(out)
  yield* removeHalves(out) // of a run that was killed
  const named = [...expectedTensors(model.config)].map((tensor) => {
    const own = source.tensors.get(tensor.name)
    // A matrix with new rows is f32; it goes back as the model's own is.
    return {
      name: tensor.name,
      tensor: own!,
      target: input.dtype ?? base.tensors.get(tensor.name)?.dtype ?? own!.dtype
    }
  })
  const size = named.reduce((sum, { tensor, target }) => sum + sizeOf(tensor.shape) * bytesOf[target], 0)
  yield* requireSpace(
    [{ path: out, bytes: size, what: "the merged model" }],
    "make room, or name a folder on another disk with --out"
  )
  const merges = new Map(
    chosenLinears(description, adapter.options).map(({ path, outFeatures, inFeatures }) => [
      `${path}.weight`,
      { path, out: outFeatures, inner: inFeatures } satisfies Merge
    ])
  )
  const began = performance.now()

  const write = Effect.gen(function* () {
    const backend = yield* Backend
    const queue = yield* backend.open(planMerges(backend.limits, adapter, [...merges.values()]))
    let failure: unknown
    let done = 0
    const tensors = named.map(({ name, tensor, target }) => {
      const read = async (): Promise<Uint8Array> => {
        screen.live(`${++done} of ${named.length}  ${name}`)
        const one = merges.get(name)
        const whole = adapter.values.get(name)
        try {
          if (whole !== undefined) return narrow(whole.read(), target)
          if (one !== undefined) return narrow(await mergeLinear(queue, adapter, one, tensor), target)
        } catch (cause) {
          failure = cause
          throw cause
        }
        return target === tensor.dtype ? tensor.read() : narrow(widen(tensor.read(), tensor.dtype), target)
      }
      return { name, shape: tensor.shape, dtype: target, read }
    })
    yield* writeSafetensors(join(out, "model.safetensors"), tensors).pipe(
      // What the device says comes as a defect of the writer.
      Effect.catchDefect((defect) => (defect === failure ? Effect.fail(DeviceError.from(defect)) : Effect.die(defect)))
    )
  })
  yield* Effect.scoped(Effect.provide(write, backendLayer(input)))
  yield* writeBeside(out, source, input.dtype, model)
  const seconds = (performance.now() - began) / 1000
  screen.live("")
  screen.say(`${out}: ${merges.size} linears merged, ${bytes(size)}, ${duration(seconds)}`)
  if (source.files.length === 0)
    screen.say(`  ${screen.style.warning("note")}: there are no tokenizer files beside ${input.model} to copy`)
  screen.event({ event: "Merge", path: out, linears: merges.size, bytes: size, seconds })
}, Effect.scoped)

/** The tokenizer's files, and config.json last: what was interrupted opens as no model. */
const writeBeside = Effect.fnUntraced(function* (
  out: string,
  { files, config }: CheckpointSource,
  dtype: MergeInput["dtype"],
  { tokenizerFiles = [], config: { vocabularySize } }: OpenedModel
) {
  for (const { name, bytes: content } of tokenizerFiles)
    yield* replaceFile(join(out, name), content instanceof Uint8Array ? [content] : content())
  for (const { name, path } of files) {
    if (tokenizerFiles.some((file) => file.name === name)) continue
    const content = yield* Effect.tryPromise({ try: () => readFile(path), catch: (e) => fileError(path, "read", e) })
    yield* replaceFile(join(out, name), [content])
  }
  const keys = dtype === undefined ? [] : ["dtype", "torch_dtype"]
  const sized = tokenizerFiles.length === 0 ? config : withMember(config, "vocab_size", String(vocabularySize))
  const text = keys.reduce((so, key) => withMember(so, key, JSON.stringify(torchNames[dtype ?? "f32"])), sized)
  yield* replaceFile(join(out, "config.json"), [new TextEncoder().encode(text)])
})
