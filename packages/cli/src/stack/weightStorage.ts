/** How the frozen weights of a model are kept: the codec of a stack, and the loader's options that go with it. */
import { type ActivationDType, Dense } from "@graft/core"
import { DoubleQuant } from "@graft/double-quant"
import { GgufBlocks } from "@graft/gguf-quant"
import { describeLlama, LlamaLoader, type OpenedModel } from "@graft/llama-loader"
import { type BlockSize, blockSizes, Fp4, Nf4, PlainScales } from "@graft/nf4-quant"
import { WeightStream } from "@graft/weight-stream"
import { Effect, Layer } from "effect"
import type { StorageInput } from "../flags/modelFlags.ts"
import { InvalidInput } from "../problems.ts"

/** What the recipe multiplies in: as asked, else what the machine does best. */
export const computeOf = (
  asked: ActivationDType | undefined,
  { multipliesBf16 }: { readonly multipliesBf16: boolean }
): ActivationDType => asked ?? (multipliesBf16 ? "bf16" : "f32")

/**
 * Dense weights keep the file's format, except that where the multiply rounds to bf16 anyway, wider storage would only take
 * more memory. (A GGUF's blocks become f32 where they are made dense, some seven times what they take in the file.)
 */
const denseDtype = (model: OpenedModel, compute: ActivationDType): "source" | "bf16" =>
  compute === "bf16" &&
  model.tensors.names.some((name) => model.tensors.get(name)?.dtype === "f32" && !OF_FOUR_BITS.test(name))
    ? "bf16"
    : "source"
/** Scales and tables of quantised weights are f32 whatever the weights were. */
const OF_FOUR_BITS = /\.weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map)$/

interface FourBits {
  readonly codec: "nf4" | "fp4"
  readonly doubleQuant: boolean
  readonly blockSize: BlockSize
  /** Linears that stay dense. */
  readonly skip: ReadonlyArray<string>
}

/** The model as a stack's loader, its codec below it. */
export const loaderLayer = (model: OpenedModel, input: StorageInput, compute: ActivationDType) =>
  Effect.gen(function* () {
    const dtype = denseDtype(model, compute)
    const bits = yield* fourBits(model, input)
    const loader = LlamaLoader.layerOf(model, { denseDtype: dtype, skip: bits?.skip ?? [] })
    const { weightsMemory } = input
    const under = weightsMemory === undefined ? loader : WeightStream.layer(loader, { memoryBytes: weightsMemory })
    if (yield* staysPacked(model, input)) return under.pipe(Layer.provide(GgufBlocks.layerOf({ denseDtype: dtype })))
    if (bits === undefined) return under.pipe(Layer.provide(Dense.layerOf(dtype)))
    const { codec, doubleQuant, blockSize } = bits
    const rowScales = input.rowScales ?? "flat"
    return under.pipe(
      Layer.provide((codec === "nf4" ? Nf4 : Fp4).layerOf({ blockSize, rowScales })),
      Layer.provide(doubleQuant ? DoubleQuant.layer : PlainScales.layer)
    )
  })

/** Whether a GGUF's blocks stay as they are. */
const staysPacked = (model: OpenedModel, { weights, quantize }: StorageInput): Effect.Effect<boolean, InvalidInput> => {
  const invalid = (message: string) => Effect.fail(new InvalidInput({ message }))
  const has = model.tensors.names.some((name) => model.tensors.get(name)?.blocks !== undefined)
  if (weights !== undefined && !has)
    return invalid(
      `--weights ${weights} is for a GGUF with quantised blocks, which ${model.path} has not; leave it out`
    )
  if (weights === "packed" && quantize !== undefined)
    return invalid(
      `--weights packed keeps the blocks of ${model.path} as they are, and --quantize ${quantize} does not; leave one of them out`
    )
  return Effect.succeed(has && weights !== "dense" && quantize === undefined)
}

/** What the flags ask for, or what the checkpoint is stored as; undefined: dense weights. */
const fourBits = (
  model: OpenedModel,
  { quantize, doubleQuant, blockSize, skip, rowScales }: StorageInput
): Effect.Effect<FourBits | undefined, InvalidInput> => {
  const invalid = (message: string) => Effect.fail(new InvalidInput({ message }))
  const stored = model.config.quantization
  const without = [
    ...(doubleQuant ? ["--double-quant"] : []),
    ...(blockSize === undefined ? [] : ["--block-size"]),
    ...(skip === undefined ? [] : ["--skip"])
  ]
  // A checkpoint that is quantised already may be read by another rule.
  const unread = stored === undefined && rowScales !== undefined ? ["--row-scales"] : []
  if (stored !== undefined) {
    const other =
      quantize !== undefined && quantize !== stored.codec
        ? `--quantize ${quantize}`
        : doubleQuant && !stored.doubleQuantization
          ? "--double-quant"
          : without.find((flag) => flag !== "--double-quant")
    if (other !== undefined) {
      return invalid(
        `${model.path} is stored as ${stored.codec}${stored.doubleQuantization ? " with double quantisation" : ""}, and ${other} asks for something else; leave it out, or take the unquantised model`
      )
    }
    const names = new Set(model.tensors.names)
    const dense = describeLlama(model.config, model.path).linears.filter(
      ({ path }) => !names.has(`${path}.weight.quant_state.bitsandbytes__${stored.codec}`)
    )
    return Effect.succeed({
      codec: stored.codec,
      doubleQuant: stored.doubleQuantization,
      blockSize: 64, // of what is made anew, which is nothing
      skip: dense.map(({ path }) => path)
    })
  }
  if (quantize === undefined) {
    const all = [...without, ...unread]
    return all.length === 0
      ? Effect.succeed(undefined)
      : invalid(
          `${all.join(", ")} ${all.length === 1 ? "has" : "have"} no effect without --quantize; add --quantize nf4, or leave out what needs it`
        )
  }
  return Effect.gen(function* () {
    const size = yield* blockSizeOfFlag(blockSize ?? 64)
    return { codec: quantize, doubleQuant, blockSize: size, skip: yield* skippedOf(model, skip) }
  })
}

export const blockSizeOfFlag = (given: number): Effect.Effect<BlockSize, InvalidInput> => {
  const size = blockSizes.find((known) => known === given)
  return size === undefined
    ? Effect.fail(new InvalidInput({ message: `--block-size is ${given}; expected one of ${blockSizes.join(", ")}` }))
    : Effect.succeed(size)
}

/** The names of `--skip`, each of which some linear of the model has. */
export const skippedOf = (
  model: OpenedModel,
  given: string | undefined
): Effect.Effect<ReadonlyArray<string>, InvalidInput> => {
  const skipped = (given ?? "").split(",").flatMap((name) => (name.trim() === "" ? [] : [name.trim()]))
  const { linears } = describeLlama(model.config, model.path)
  const nowhere = skipped.find((name) => !linears.some(({ path }) => isNamed(path, name)))
  if (nowhere === undefined) return Effect.succeed(skipped)
  const names = [...new Set(linears.map(({ path }) => path.slice(path.lastIndexOf(".") + 1)))]
  return Effect.fail(
    new InvalidInput({
      message: `--skip: no linear of ${model.path} is called ${nowhere}; there are ${names.join(", ")}`
    })
  )
}
export const isNamed = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`)
