/**
 * Every family against transformers' logits of a tiny random model (scripts/goldenArchitectures.py), on the reference backend:
 * from the folder, from its GGUF, and token by token over a cache.
 */
import assert from "node:assert/strict"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import {
  assemble,
  denseCodec,
  loadAtOnce,
  type Model,
  noAdapter,
  type Queue,
  ReferenceQueue,
  Scope,
  widen
} from "@graft/core"
import { integersOf, openSafetensors } from "@graft/safetensors"
import { Effect } from "effect"
import { decodeHuggingFace } from "../config/decodeHuggingFace.ts"
import { encodeHuggingFace } from "../config/encodeHuggingFace.ts"
import { type OpenedModel, openModel } from "../folder/openModel.ts"
import { eachLogits, makeDecoder } from "../model/decoding.ts"
import { describeLlama, loadLlama } from "../model/llamaModel.ts"
import { architectures } from "./known.ts"

const fixtures = fileURLToPath(new URL("../../fixtures/architectures/", import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), "graft-architectures-"))
after(() => rmSync(temporary, { recursive: true }))
const engine = { compute: "f32", overrides: new Map() } as const

/** Runs `body` with the model at `path` on the reference backend. */
const withModel = <A>(path: string, body: (queue: Queue, model: Model, opened: OpenedModel) => Promise<A>) =>
  Effect.gen(function* () {
    const opened = yield* openModel(path)
    const { config, tensors } = opened
    const queue = new ReferenceQueue([1 << 24])
    const description = describeLlama(config, path)
    const source = {
      config,
      description,
      tensors,
      codec: denseCodec(),
      denseDtype: "source",
      skip: () => false
    } as const
    const load = (q: Queue, s: Scope, trained: (path: string) => boolean) => loadLlama(source, q, s, trained)
    const { model } = loadAtOnce(assemble(queue, new Scope(queue, "weights"), { load, adapter: noAdapter }))
    const made = yield* Effect.promise(() => body(queue, model, opened))
    yield* Effect.promise(() => queue.close())
    return made
  }).pipe(Effect.scoped, Effect.runPromise)

const logitsOf = (path: string, ids: ReadonlyArray<number>): Promise<Float32Array> =>
  withModel(path, async (queue, model) => {
    const all: Array<number> = []
    await eachLogits(queue, model, ids, { ...engine, rows: 24 }, (logits) => {
      all.push(...logits)
    })
    return Float32Array.from(all)
  })

const golden = (family: string) =>
  Effect.gen(function* () {
    const file = yield* openSafetensors(join(fixtures, family, "golden.safetensors"))
    const logits = new Map(
      file.names
        .filter((name) => name.endsWith("logits"))
        .map((name) => [name, widen(file.tensors.get(name)!.read(), "f32")] as const)
    )
    return { ids: integersOf(file.tensors.get("input_ids")!), logits }
  }).pipe(Effect.scoped, Effect.runPromise)

const near = (got: Float32Array, wanted: Float32Array, what: string): void => {
  assert.equal(got.length, wanted.length)
  const top = wanted.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const worst = got.reduce((m, v, i) => Math.max(m, Math.abs(v - wanted[i]!)), 0)
  assert.ok(worst <= 1e-5 * top, `${what}: ${worst} apart, of ${top}`)
}
const json = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown> // an object: the fixtures are

/** The family's folder with other values in its config. */
const changed = (family: string, name: string, change: object): string => {
  const folder = join(temporary, `${family} ${name}`)
  cpSync(join(fixtures, family), folder, { recursive: true })
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...json(join(folder, "config.json")), ...change }))
  return folder
}

// A Llama has fixtures of its own (packages/testing) and the goldens of model/golden.test.ts.
const families = Object.keys(architectures).filter((family) => family !== "llama")

for (const family of families) {
  const folder = join(fixtures, family)

  test(`${family}: transformers' logits`, async () => {
    const { ids, logits } = await golden(family)
    near(await logitsOf(folder, ids), logits.get("logits")!, family)
    const variants = Object.entries(json(join(folder, "variants.json")))
    for (const [name, change] of variants) {
      const wanted = logits.get(`${name}.logits`)!
      near(await logitsOf(changed(family, name, change as object), ids), wanted, `${family}, ${name}`) // an object of keys
    }
    assert.equal(logits.size, variants.length + 2) // an adapter's are there, too
  })

  test(`${family}: the same logits from its GGUF`, async () => {
    const { ids } = await golden(family)
    // A Mistral is a Llama in GGUF, which has no word for the window.
    const same = family === "mistral" ? changed(family, "without a window", { sliding_window: null }) : folder
    assert.deepEqual(await logitsOf(join(folder, "model.gguf"), ids), await logitsOf(same, ids))
  })

  test(`${family}: one pass and a cache give the same logits`, async () => {
    const { ids, logits } = await golden(family)
    const wanted = logits.get("logits")!
    const vocabulary = wanted.length / ids.length
    await withModel(folder, async (queue, model) => {
      using decoder = makeDecoder(queue, model, { ...engine, capacity: ids.length })
      let fed = 0
      for (const count of [11, 1, 1, 9, ...Array<number>(ids.length - 22).fill(1)]) {
        const last = await decoder.feed(ids.slice(fed, fed + count))
        fed += count
        near(last, wanted.slice((fed - 1) * vocabulary, fed * vocabulary), `${family}, token ${fed}`)
      }
    })
  })

  test(`${family}: config.json is written as it is read`, () => {
    const config = decodeHuggingFace("config.json", json(join(folder, "config.json")))
    const written = JSON.parse(encodeHuggingFace("model", config, "bfloat16")) as unknown // whatever it wrote
    assert.deepEqual({ ...decodeHuggingFace("config.json", written) }, { ...config })
  })
}
