/** A model with its adapter on a device: what training, evaluation and generation share. */
import type { AdapterPlan } from "./Adapter.ts"
import type { Loaded, Model } from "./Model.ts"
import { ParameterArena } from "./ParameterArena.ts"
import type { Queue } from "./Queue.ts"
import { denseKernels } from "./reference/denseCodec.ts"
import { Scope, type Tensor } from "./Tensor.ts"

/** A model and an adapter as functions of a queue: nothing here holds a buffer. */
export interface Assembly {
  readonly load: (queue: Queue, scope: Scope, trained: (path: string) => boolean) => Generator<Loaded, Model, void>
  readonly adapter: AdapterPlan
}

/** Loads a model, lays its trained parameters out and binds the adapter: what training, evaluation and generation share. */
export function* assemble(queue: Queue, scope: Scope, recipe: Assembly) {
  const { adapter } = recipe
  const model = yield* recipe.load(queue, scope, adapter.trainsBase)
  const base = model.trained.map((spec) => ({ ...spec, init: adapter.baseValues?.(spec.path) ?? spec.init }))
  const specs = [...adapter.parameters(model.description), ...base]
  const parameters = new ParameterArena(scope, specs, "parameters", "adapters")
  for (const { path, init } of specs) {
    const t = parameters.get(path)
    if (typeof init === "function") queue.upload(t, init)
    else uploadAsF32(queue, t, init)
    yield { path, bytes: t.bytes }
  }
  model.bindTrained((path) => parameters.get(path))
  adapter.bind(model.linears, (path) => parameters.get(path), scope)
  return { model, parameters, specs }
}
/** A trained tensor is f32, whatever its file has. */
const uploadAsF32 = (queue: Queue, t: Tensor, source: Parameters<Queue["uploadSource"]>[1]): void => {
  if (source.dtype === "f32") return queue.uploadSource(t, source)
  using temporary = new Scope(queue, "workspace")
  const raw = temporary.tensor([t.rows, t.columns], `${source.name} (${source.dtype})`, source.dtype)
  queue.uploadSource(raw, source)
  queue.enqueue(denseKernels.dequantizeRows, [t, raw], { out: raw.rows, in: raw.columns, firstRow: 0 })
}
