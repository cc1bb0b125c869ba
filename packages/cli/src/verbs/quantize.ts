/** `graft quantize`: a checkpoint in 4 bits, a report of what they cost, or both. */
import { doubleQuant } from "@graft/double-quant"
import type { OpenedModel } from "@graft/llama-loader"
import {
  type BlockSize,
  type CheckpointEvent,
  type CheckpointSource,
  type FourBitFormat,
  fp4,
  nf4,
  plainScales,
  quantizeCheckpoint
} from "@graft/nf4-quant"
import { Effect, Stream } from "effect"
import type { QuantizeInput } from "../flags/quantizeFlags.ts"
import { InvalidInput } from "../problems.ts"
import { showModel } from "../show/findings.ts"
import { bytes, whole } from "../show/quantities.ts"
import { lossTable, summaryOf, weightTable } from "../show/quantizationTables.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { backendLayer } from "../stack/backendLayer.ts"
import { checkpointSource } from "../stack/checkpointSource.ts"
import { openNamed } from "../stack/openNamed.ts"
import { errorsOfWeights, lossesOfModel } from "../stack/quantizationReport.ts"
import { quantizedSize, requireQuantizedSpace } from "../stack/quantizedSize.ts"
import { requireWritable } from "../stack/requireWritable.ts"
import { textWindows } from "../stack/textWindows.ts"
import { blockSizeOfFlag, skippedOf } from "../stack/weightStorage.ts"

export const quantize = Effect.fnUntraced(function* (input: QuantizeInput) {
  const screen = makeScreen(input.json)
  const { out, report, text, maxLength } = input
  const invalid = (message: string) => new InvalidInput({ message })
  if (out === undefined && !report)
    return yield* invalid("nothing to do: name a folder to write with --out, or ask what 4 bits cost with --report")
  if (text !== undefined && !report) return yield* invalid("--text has no effect without --report")
  if (maxLength !== undefined && text === undefined) return yield* invalid("--max-length has no effect without --text")
  if (out !== undefined) yield* requireWritable(out)
  const blockSize = yield* blockSizeOfFlag(input.blockSize)
  const model = yield* openNamed(input.model)
  const source = yield* checkpointSource(model, yield* skippedOf(model, input.skip))
  const windows = text === undefined ? undefined : yield* textWindows(model, text, maxLength)
  showModel(screen, model)
  if (out !== undefined) {
    const { quantized } = quantizedSize(source, input)
    yield* requireQuantizedSpace(
      out,
      quantized,
      "the checkpoint",
      "make room, or name a folder on another disk with --out"
    )
    yield* write(screen, input, source, out, blockSize)
  }
  if (report) yield* tell(screen, input, model, source, blockSize, windows)
}, Effect.scoped)

const write = Effect.fnUntraced(function* (
  screen: Screen,
  input: QuantizeInput,
  source: CheckpointSource,
  out: string,
  blockSize: BlockSize
) {
  const format: FourBitFormat = {
    codebook: input.quantize === "nf4" ? nf4 : fp4,
    scales: input.doubleQuant ? doubleQuant : plainScales,
    blockSize,
    dtype: input.dtype
  }
  const events = quantizeCheckpoint(source, out, format)
  yield* Effect.provide(
    Stream.runForEach(events, (event) => Effect.sync(() => showEvent(screen, event))),
    backendLayer(input)
  )
  if (!source.files.some(({ name }) => name.startsWith("tokenizer")))
    screen.say(`  ${screen.style.warning("note")}: there are no tokenizer files beside ${input.model} to copy`)
})

const showEvent = (screen: Screen, event: CheckpointEvent): void => {
  const { _tag, ...rest } = event
  screen.event({ event: _tag, ...rest })
  if (event._tag === "Plan")
    screen.say(
      `${screen.style.strong("plan")}   ${event.linears} linears, ${whole(event.parameters)} parameters; ${bytes(event.arenaBytes)} on the device`
    )
  if (event._tag === "Quantized")
    screen.live(`${event.index + 1} of ${event.count}  ${event.path}${event.reused ? "  (was there)" : ""}`)
  if (event._tag === "Writing") screen.live(`writing ${event.path}`)
  if (event._tag === "Done")
    screen.say(`${event.path}: ${event.bitsPerParameter.toFixed(3)} bits a quantised parameter`)
}

const tell = Effect.fnUntraced(function* (
  screen: Screen,
  input: QuantizeInput,
  model: OpenedModel,
  { tensors, linears }: CheckpointSource,
  blockSize: BlockSize,
  windows: Parameters<typeof lossesOfModel>[4] | undefined
) {
  const sources = linears.flatMap((path) => {
    const tensor = tensors.get(`${path}.weight`)
    return tensor === undefined ? [] : [[path, tensor] as const]
  })
  const reports = yield* errorsOfWeights(screen, input, sources, blockSize)
  screen.say(weightTable(reports))
  for (const report of reports) screen.event({ event: "Weights", ...summaryOf(report), weights: report.weights })
  if (windows === undefined) return
  const losses = yield* lossesOfModel(screen, input, model, blockSize, windows)
  screen.say(lossTable(losses))
  screen.say(`  over ${whole(losses[0]?.tokens ?? 0)} tokens of ${input.text}`)
  for (const loss of losses) screen.event({ event: "Perplexity", ...loss })
})
