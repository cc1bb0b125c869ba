/** LoRA in small, and full training: what the suites need an adapter for. */
import {
  Adapter,
  type AdapterPlan,
  type AdapterSegment,
  type Batch,
  type Linear,
  loraLinear,
  ModelLoader,
  makePart,
  siteOf,
  Tensor,
  uniforms
} from "@graft/core"
import { Effect, Layer } from "effect"

export interface ToyLora {
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  readonly targets: (path: string) => boolean
  /** Of the initial B; 0 starts as the base model, which says little of the gradient of A. */
  readonly sizeOfB: number
}
/** B is not 0 unless asked, so that every gradient is. */
export const toyLora = (given: Partial<ToyLora> = {}): AdapterPlan => {
  const { rank, alpha, dropout, targets, sizeOfB } = {
    rank: 4,
    alpha: 8,
    dropout: 0,
    targets: () => true,
    sizeOfB: 0.1,
    ...given
  }
  const init = (path: string, count: number, size: number) => () =>
    uniforms(count, 3, siteOf(path)).map((u) => size * (2 * u - 1))
  return {
    check: (model) => (model.linears.some(({ path }) => targets(path)) ? undefined : "no linear is a target"),
    trainsBase: () => false,
    parameters: (model) =>
      model.linears
        .filter(({ path }) => targets(path))
        .flatMap(({ path, outFeatures, inFeatures }) => [
          {
            path: `${path}.lora_A`,
            shape: [rank, inFeatures],
            group: "lora_A",
            init: init(`${path}.A`, rank * inFeatures, inFeatures ** -0.5),
            decays: true
          },
          {
            path: `${path}.lora_B`,
            shape: [outFeatures, rank],
            group: "lora_B",
            init: init(`${path}.B`, outFeatures * rank, sizeOfB),
            decays: true
          }
        ]),
    bind: (linears, parameter) => {
      for (const { path } of linears.under().filter((l) => targets(l.path))) {
        const [a, b] = [parameter(`${path}.lora_A`), parameter(`${path}.lora_B`)]
        const site = siteOf(path)
        linears.replace(path, ({ weight }): Linear => {
          if (weight instanceof Tensor) throw new TypeError(`${path} is trained whole`)
          const segments = (batch: Batch, start: number, rows: number): ReadonlyArray<AdapterSegment> => {
            const { rowKeys, seed, step, training } = batch
            const key = { rate: dropout, seed, step, site, rowKeys }
            const segment = { start, rows, a, b, scale: alpha / rank }
            return [training && dropout > 0 ? { ...segment, dropout: key } : segment]
          }
          const forward: Linear["forward"] = (g, x, batch) => loraLinear(g, x, weight, segments(batch, 0, x.rows))
          return { path, weight, forward, segments }
        })
      }
    },
    files: (parameters) => [
      {
        name: "adapter.json",
        bytes: async function* () {
          const all = parameters.map(async ({ path, shape, values }) => ({
            path,
            shape,
            values: [...(await values())]
          }))
          yield new TextEncoder().encode(JSON.stringify(await Promise.all(all)))
        }
      }
    ]
  }
}
/** Every tensor of the base is trained. */
export const fullTraining: AdapterPlan = {
  check: () => undefined,
  trainsBase: () => true,
  parameters: () => [],
  bind: () => {},
  files: toyLora().files
}
export const ToyAdapter = {
  layer: (plan: AdapterPlan = toyLora()): Layer.Layer<Adapter, never, ModelLoader> =>
    Layer.effect(
      Adapter,
      Effect.gen(function* () {
        const model = yield* ModelLoader
        return { part: yield* makePart("toy adapter", model), plan }
      })
    )
}
