/** The forward pass against transformers' logits, on the reference backend. */
import assert from "node:assert/strict"
import { join } from "node:path"
import { assemble, denseCodec, loadAtOnce, noAdapter, ReferenceQueue, Scope, widen } from "@graft/core"
import { integersOf, openSafetensors } from "@graft/safetensors"
import { beside, testBeside } from "@graft/testing"
import { Effect } from "effect"
import { openModel } from "../folder/openModel.ts"
import { eachLogits } from "./decoding.ts"
import { describeLlama, loadLlama } from "./llamaModel.ts"

const golden = beside("golden")

testBeside("golden")("logits of the golden Llama within 1e-5 of the largest", () =>
  Effect.gen(function* () {
    const model = yield* openModel(join(golden, "tiny-llama"))
    const file = yield* openSafetensors(join(golden, "tiny-llama/logits.safetensors"))
    const ids = integersOf(file.tensors.get("input_ids")!)
    const wanted = widen(file.tensors.get("logits")!.read(), "f32")
    const queue = new ReferenceQueue([1 << 26])
    const scope = new Scope(queue, "weights")
    const description = describeLlama(model.config, "golden")
    const source = {
      config: model.config,
      description,
      tensors: model.tensors,
      codec: denseCodec(),
      denseDtype: "source" as const,
      skip: () => false
    }
    const { model: llama } = loadAtOnce(
      assemble(queue, scope, { load: (q, s, t) => loadLlama(source, q, s, t), adapter: noAdapter })
    )
    let worst = 0
    const top = wanted.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    const row = ids.slice(0, 64)
    yield* Effect.promise(() =>
      eachLogits(queue, llama, row, { compute: "f32", overrides: new Map(), rows: 24 }, (logits, first) => {
        for (let i = 0; i < logits.length; i++) worst = Math.max(worst, Math.abs(logits[i]! - wanted[first * 512 + i]!))
      })
    )
    assert.ok(worst <= 1e-5 * top, `${worst} against ${top}`)
    yield* Effect.promise(() => queue.close())
  }).pipe(Effect.scoped, Effect.runPromise)
)
