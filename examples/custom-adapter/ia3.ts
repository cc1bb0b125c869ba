/** IA³ (Liu et al. 2022, arXiv:2205.05638): each output of the value and key projections gets a trained factor. */
import { Adapter, type AdapterPlan, ModelLoader, makePart, scaleColumns } from "@graft/core"
import { Effect, Layer } from "effect"

const isTarget = (path: string) => path.endsWith("k_proj") || path.endsWith("v_proj")

const plan: AdapterPlan = {
  check: () => undefined,
  trainsBase: () => false,
  parameters: ({ linears }) =>
    linears
      .filter(({ path }) => isTarget(path))
      .map(({ path, outFeatures }) => ({
        path: `${path}.ia3_l`,
        shape: [outFeatures],
        group: "ia3",
        decays: false,
        init: () => new Float32Array(outFeatures).fill(1)
      })),
  bind: (linears, parameter, scope) => {
    for (const { path } of linears.under().filter((linear) => isTarget(linear.path))) {
      const factors = parameter(`${path}.ia3_l`)
      const ones = scope.tensor(factors.shape, `${path} ones`)
      scope.queue.upload(ones, () => new Float32Array(ones.size).fill(1))
      linears.replace(path, ({ weight, forward }) => ({
        path,
        weight,
        forward: (g, x, batch) => scaleColumns(g, forward(g, x, batch), factors, ones)
      }))
    }
  },
  files: (parameters) => [
    {
      name: "ia3.json",
      bytes: async function* () {
        const all = parameters.map(async ({ path, values }) => [path, ...(await values())])
        yield new TextEncoder().encode(JSON.stringify(await Promise.all(all)))
      }
    }
  ]
}
export const Ia3: { readonly layer: Layer.Layer<Adapter, never, ModelLoader> } = {
  layer: Layer.effect(
    Adapter,
    Effect.map(
      Effect.flatMap(ModelLoader, (model) => makePart("IA3", model)),
      (part) => ({ part, plan })
    )
  )
}
