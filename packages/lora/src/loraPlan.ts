/**
 * LoRA as an adapter: says which parameters it wants, then replaces linears by path. It sees weights and paths only, so it
 * works over any quantiser, and no quantiser knows of it.
 */
import {
  type AdapterPlan,
  type AdapterSegment,
  addInto,
  type Batch,
  Graph,
  type Linear,
  loraLinear,
  type ModelDescription,
  normals,
  type ParameterSpec,
  siteOf,
  Tensor,
  uniforms,
  type Weight
} from "@graft/core"
import { safetensorsChunks } from "@graft/safetensors"
import { configFor } from "./adapterConfig.ts"
import { doraLinear, doraNorm } from "./dora.ts"
import type { LoraOptions } from "./LoraOptions.ts"
import { chosenLinears, patternValue, targetProblem } from "./targetModules.ts"
import { isWhole, savedNames, savedWholeProblems, wholeConfig, wholeProblem, wholeTensors } from "./wholeModules.ts"

export const rankOf = (path: string, { rank, rankPattern }: LoraOptions): number =>
  patternValue(path, rankPattern, rank)
/** s in y = Wx + s·BAx. */
export const scaleOf = (path: string, options: LoraOptions): number => {
  const rank = rankOf(path, options)
  return patternValue(path, options.alphaPattern, options.alpha) / (options.rsLora ? Math.sqrt(rank) : rank)
}

/** A parameter's key in adapter_model.safetensors. */
const PREFIX = "base_model.model."
export const keyOf = (parameter: string): string =>
  `${PREFIX}${parameter}${/magnitude_vector$|\.weight$/.test(parameter) ? "" : ".weight"}`

/** A tensor of an adapter to start from, that is read when it is wanted. */
export interface SavedTensor {
  /** Elements. */
  readonly size: number
  /** @throws FileError */
  readonly read: () => Float32Array
}
/** By parameter path. */
export type SavedAdapter = ReadonlyMap<string, SavedTensor>

export const loraPlan = (options: LoraOptions, saved?: SavedAdapter): AdapterPlan => {
  const { dropout, dora, init, seed } = options

  const firstA = (path: string, rank: number, inner: number) => () => {
    if (init === "gaussian") return normals(rank * inner, seed, siteOf(path)).map((v) => v / rank)
    const bound = 1 / Math.sqrt(inner) // kaiming_uniform with a = √5
    return uniforms(rank * inner, seed, siteOf(path)).map((u) => bound * (2 * u - 1))
  }
  const parameters = (model: ModelDescription): ReadonlyArray<ParameterSpec> =>
    chosenLinears(model, options).flatMap(({ path, outFeatures, inFeatures }) => {
      const rank = rankOf(path, options)
      const spec = (name: string, shape: ReadonlyArray<number>, fresh: () => ArrayLike<number>): ParameterSpec => {
        const values = saved?.get(`${path}.${name}`)
        return {
          path: `${path}.${name}`,
          shape,
          group: name,
          decays: true,
          init: values?.read ?? fresh
        }
      }
      return [
        spec("lora_A", [rank, inFeatures], firstA(path, rank, inFeatures)),
        spec("lora_B", [outFeatures, rank], () => new Float32Array(outFeatures * rank)),
        // Without a saved one, `bind` puts the norm of W there.
        ...(dora ? [spec("lora_magnitude_vector", [outFeatures], () => new Float32Array(outFeatures))] : [])
      ]
    })

  return {
    check: (model, codec) => {
      if (dora && dropout > 0) return "lora: DoRA with dropout is not defined here; set dropout to 0, or dora to false"
      const problem = targetProblem(model, options) ?? wholeProblem(model, options)
      if (problem !== undefined || saved === undefined) return problem
      const known = wholeTensors(model, options).flatMap((path) => savedNames(path, model))
      const whole = { known, problems: savedWholeProblems(model, options, saved) }
      return savedProblem(parameters(model), whole, saved, `${model.name} (${codec})`)
    },
    trainsBase: (path) => isWhole(path, options),
    baseValues: (path) => saved?.get(path)?.read,
    parameters,
    bind: (linears, parameter, scope) => {
      const chosen = linears.under().filter(({ path }) => has(parameter, `${path}.lora_A`))
      for (const { path } of chosen) {
        linears.replace(path, ({ weight }): Linear => {
          if (weight instanceof Tensor) throw new TypeError(`lora: ${path} is trained whole and cannot have an adapter`)
          const a = parameter(`${path}.lora_A`)
          const b = parameter(`${path}.lora_B`)
          const scale = scaleOf(path, options)
          const site = siteOf(path)
          if (dora) {
            const magnitude = parameter(`${path}.lora_magnitude_vector`)
            const norms = cachedNorms(weight, path, scope.tensor([weight.outFeatures], `${path} ‖W‖²`))
            using g = new Graph(scope.queue)
            if (saved === undefined)
              addInto(g, magnitude, doraNorm(g, weight, a, b, scale, norms), { width: 1, rows: weight.outFeatures })
            return {
              path,
              weight,
              forward: (graph, x) =>
                graph.scoped(() =>
                  doraLinear(
                    graph,
                    x,
                    weight,
                    { start: 0, rows: x.rows, a, b, scale },
                    magnitude,
                    doraNorm(graph, weight, a, b, scale, norms)
                  )
                )
            }
          }
          const segments = (batch: Batch, start: number, rows: number): ReadonlyArray<AdapterSegment> => {
            const { rowKeys, seed: runSeed, step, training } = batch
            const key =
              training && dropout > 0 ? { dropout: { rate: dropout, seed: runSeed, step, site, rowKeys } } : {}
            return [{ start, rows, a, b, scale, ...key }]
          }
          const forward: Linear["forward"] = (g, x, batch) => loraLinear(g, x, weight, segments(batch, 0, x.rows))
          return { path, weight, forward, segments }
        })
      }
    },
    files: (values, model) => {
      const named = values.flatMap((value) => savedNames(value.path, model).map((path) => ({ ...value, path })))
      const tensors = named.map(({ path, shape, parts }) => ({
        name: keyOf(path),
        dtype: "f32" as const,
        shape,
        read: parts
      }))
      const config = new TextEncoder().encode(
        `${JSON.stringify(configFor(options, model, wholeConfig(options, model)), null, 2)}\n`
      )
      return [
        { name: "adapter_model.safetensors", bytes: () => safetensorsChunks(tensors) },
        { name: "adapter_config.json", bytes: config }
      ]
    }
  }
}

const has = (parameter: (path: string) => Tensor, path: string): boolean => {
  try {
    parameter(path)
    return true
  } catch {
    return false
  }
}
const cachedNorms = (weight: Weight, _path: string, norms: Tensor): Tensor => {
  weight.rowNormsSquared(norms)
  return norms
}
/** Every tensor of a saved adapter that does not fit this model, in one message. */
const savedProblem = (
  wanted: ReadonlyArray<ParameterSpec>,
  whole: { readonly known: ReadonlyArray<string>; readonly problems: ReadonlyArray<string> },
  saved: SavedAdapter,
  model: string
): string | undefined => {
  const problems = wanted.flatMap(({ path, shape }) => {
    const values = saved.get(path)
    const size = shape.reduce((a, b) => a * b, 1)
    if (values === undefined) return [`${keyOf(path)} is missing`]
    return values.size === size ? [] : [`${keyOf(path)} has ${values.size} elements, wanted [${shape}]`]
  })
  const known = new Set([...wanted.map(({ path }) => path), ...whole.known])
  const extra = [...saved.keys()]
    .filter((path) => !known.has(path))
    .map((path) => `${keyOf(path)} belongs to nothing that it trains in the model`)
  const all = [...problems, ...whole.problems, ...extra]
  if (all.length === 0) return undefined
  const shown = all.slice(0, 8).join("; ")
  return `lora: the adapter does not fit ${model}: ${shown}${all.length > 8 ? `; and ${all.length - 8} more` : ""}`
}
