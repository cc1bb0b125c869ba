/** `graft synth`: a checkpoint of exact shapes with seeded random weights, streamed to the disk. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { doubleQuant } from "@graft/double-quant"
import { ConfigError, configJson, decodeHuggingFace, describeLlama, type LlamaConfig } from "@graft/llama-loader"
import { type CheckpointSource, fp4, nf4, plainScales, quantizeCheckpoint } from "@graft/nf4-quant"
import { fromThrowing, removeHalves, replaceFile, requireSpace, writeSafetensors } from "@graft/safetensors"
import { Effect, Stream } from "effect"
import type { SynthInput } from "../flags/synthFlags.ts"
import { InvalidInput } from "../problems.ts"
import { bytes, count, duration } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { backendLayer } from "../stack/backendLayer.ts"
import { quantizedSize, requireQuantizedSpace } from "../stack/quantizedSize.ts"
import { requireWritable } from "../stack/requireWritable.ts"
import { blockSizeOfFlag } from "../stack/weightStorage.ts"
import { knownShapes } from "../synth/knownShapes.ts"
import { byteLength, type SyntheticTensor, shards, syntheticTensors } from "../synth/syntheticTensors.ts"
import { syntheticTokenizer } from "../synth/syntheticTokenizer.ts"

const dtypes = { float32: "f32", bfloat16: "bf16", float16: "f16" } as const
const torchDtypes = { f32: "float32", bf16: "bfloat16", f16: "float16" } as const

export const synth = Effect.fnUntraced(function* (input: SynthInput) {
  const screen = makeScreen(input.json)
  const { out } = input
  const began = performance.now()
  const { raw, config, dtype } = yield* readConfig(input)
  const tensors = syntheticTensors(config, dtype, input.seed)
  if (existsSync(join(out, "config.json")) && !input.force)
    return yield* new InvalidInput({ message: `${out} holds a model already; name another folder, or give --force` })
  yield* requireWritable(out)
  const linears = describeLlama(config, input.config).linears.map(({ path }) => path)
  const matrices = new Set(linears.map((path) => `${path}.weight`))
  const what = { tensors, linears, kept: tensors.names.filter((name) => !matrices.has(name)) }
  yield* requireRoom(input, tensors.all, what)
  const files = yield* writeTokenizer(out, config)
  if (input.quantize === undefined) yield* writeDense(screen, input, raw, tensors.all)
  else {
    const source: CheckpointSource = {
      ...what,
      config: configJson(raw),
      skippedModules: [],
      files,
      fingerprint: `synthetic ${JSON.stringify(raw)} ${input.seed}`
    }
    yield* writeFourBit(screen, input, source)
  }
  const parameters = tensors.all.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0)
  const seconds = (performance.now() - began) / 1000
  screen.say(`${out}: ${count(parameters)} parameters, in ${duration(seconds)}`)
  screen.event({ event: "Done", path: out, parameters, seconds })
}, Effect.scoped)

const readConfig = Effect.fnUntraced(function* ({ config: name, layers, dtype: wanted }: SynthInput) {
  const known = knownShapes[name]
  const given: unknown =
    known ??
    (yield* Effect.try({
      try: (): unknown => JSON.parse(readFileSync(name, "utf8")),
      catch: (cause) =>
        new InvalidInput({
          message: `--config ${name}: ${cause instanceof Error ? cause.message : String(cause)}; known by name are ${Object.keys(knownShapes).join(", ")}`
        })
    }))
  if (typeof given !== "object" || given === null)
    return yield* new InvalidInput({ message: `${name} is no config.json` })
  const fewer = layers === undefined ? given : { ...given, num_hidden_layers: layers }
  const said = "torch_dtype" in fewer ? fewer.torch_dtype : "dtype" in fewer ? fewer.dtype : undefined
  const dtype = wanted ?? (said === "float32" || said === "float16" ? dtypes[said] : "bf16")
  const raw = { ...fewer, torch_dtype: torchDtypes[dtype] }
  const config = yield* fromThrowing<LlamaConfig, ConfigError>([ConfigError], () => decodeHuggingFace(name, raw))
  return { raw, config, dtype }
})

/** Half-written files of a run that was killed are removed. */
const requireRoom = Effect.fnUntraced(function* (
  { out, quantize, blockSize, doubleQuant: nested, shardSize }: SynthInput,
  all: ReadonlyArray<SyntheticTensor>,
  source: Pick<CheckpointSource, "tensors" | "linears" | "kept">
) {
  yield* removeHalves(out)
  const cure = "make room, give fewer --layers, or --quantize nf4"
  if (quantize !== undefined) {
    const { quantized } = quantizedSize(source, { blockSize, doubleQuant: nested })
    return yield* requireQuantizedSpace(out, quantized, "the checkpoint", cure)
  }
  // A file that is there is replaced when the new one is whole.
  const files = shards(all, shardSize * 1e9).map((file) => file.reduce((sum, tensor) => sum + byteLength(tensor), 0))
  const total = files.reduce((sum, bytes) => sum + bytes, 0)
  const there = readdirSync(out)
    .filter((name) => /^model.*\.safetensors$/.test(name))
    .reduce((sum, name) => sum + statSync(join(out, name)).size, 0)
  const bytes = there === 0 ? total : Math.max(0, total - there) + Math.max(...files)
  yield* requireSpace([{ path: out, bytes, what: "the checkpoint" }], cure)
})

const text = (path: string, value: object) => replaceFile(path, [new TextEncoder().encode(configJson(value))])

const writeTokenizer = Effect.fnUntraced(function* (out: string, { vocabularySize }: LlamaConfig) {
  const { tokenizer, config } = syntheticTokenizer(vocabularySize)
  const files = [
    { name: "tokenizer.json", value: tokenizer },
    { name: "tokenizer_config.json", value: config }
  ].map(({ name, value }) => ({ name, value, path: join(out, name) }))
  for (const { path, value } of files) yield* text(path, value)
  return files.map(({ name, path }) => ({ name, path }))
})

/** The index comes after its files and config.json last: what was interrupted opens as no model. */
const writeDense = Effect.fnUntraced(function* (
  screen: Screen,
  { out, shardSize }: SynthInput,
  config: object,
  tensors: ReadonlyArray<SyntheticTensor>
) {
  const files = shards(tensors, shardSize * 1e9)
  const nameOf = (i: number): string => {
    const number = (n: number) => String(n).padStart(5, "0")
    return files.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(files.length)}.safetensors`
  }
  const total = tensors.reduce((sum, tensor) => sum + byteLength(tensor), 0)
  let done = 0
  for (const [i, file] of files.entries()) {
    const told = file.map((tensor) => ({
      ...tensor,
      read: async function* () {
        for await (const piece of tensor.pieces()) {
          yield piece
          done += piece.byteLength
          screen.live(`writing ${Math.round((100 * done) / total)} %  ${bytes(done)}  ${tensor.name}`)
        }
      }
    }))
    yield* writeSafetensors(join(out, nameOf(i)), told)
    screen.say(`${nameOf(i)}  ${bytes(file.reduce((sum, tensor) => sum + byteLength(tensor), 0))}`)
  }
  if (files.length > 1) {
    const map = files.flatMap((file, i) => file.map(({ name }) => [name, nameOf(i)] as const))
    yield* text(join(out, "model.safetensors.index.json"), {
      metadata: { total_size: total },
      weight_map: Object.fromEntries(map)
    })
  }
  yield* text(join(out, "config.json"), config)
})

const writeFourBit = Effect.fnUntraced(function* (screen: Screen, input: SynthInput, source: CheckpointSource) {
  const format = {
    codebook: input.quantize === "fp4" ? fp4 : nf4,
    scales: input.doubleQuant ? doubleQuant : plainScales,
    blockSize: yield* blockSizeOfFlag(input.blockSize),
    dtype: undefined
  }
  yield* Effect.provide(
    Stream.runForEach(quantizeCheckpoint(source, input.out, format), (event) =>
      Effect.sync(() => {
        if (event._tag === "Quantized") screen.live(`${event.index + 1} of ${event.count}  ${event.path}`)
        if (event._tag === "Writing") screen.live(`writing ${event.path}`)
        if (event._tag === "Done") screen.say(`${event.bitsPerParameter.toFixed(3)} bits a quantised parameter`)
      })
    ),
    backendLayer(input)
  )
})
