/** A model with its adapter for evaluation and generation: services for the plan, then loaded onto the device. */
import {
  type ActivationDType,
  Adapter,
  type Assembly,
  assemble,
  Backend,
  BadStack,
  Kernels,
  LoadError,
  type MemoryPlan,
  ModelLoader,
  makePart,
  noAdapter,
  type Overrides,
  Scope
} from "@graft/core"
import type { OpenedModel } from "@graft/llama-loader"
import { Lora } from "@graft/lora"
import { Effect, Layer } from "effect"
import type { BackendInput, StorageInput } from "../flags/modelFlags.ts"
import { usePrepared } from "../prepared/usePrepared.ts"
import { bytes } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"
import { withAddedTokens } from "./addedTokens.ts"
import { backendLayer } from "./backendLayer.ts"
import { loadBytes } from "./loadBytes.ts"
import { computeOf, loaderLayer } from "./weightStorage.ts"

const Unadapted = Layer.effect(
  Adapter,
  Effect.gen(function* () {
    return { part: yield* makePart("no adapter", yield* ModelLoader), plan: noAdapter }
  })
)

interface AssemblyInput extends BackendInput, StorageInput {
  readonly adapter: string | undefined
}

/** Backend, kernels, model and adapter of the flags. */
export const assemblyLayer = (input: AssemblyInput, model: OpenedModel) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const compute = computeOf(input.compute, yield* Backend)
      const adapter = input.adapter === undefined ? Unadapted : Lora.layerFrom(input.adapter)
      return adapter.pipe(Layer.provideMerge(yield* loaderLayer(model, input, compute)))
    })
  ).pipe(Layer.provideMerge(backendLayer(input)))

/** The same over the prepared file, where one is wanted: it is made if there is none. `screen` is told of it. */
export const preparedAssembly = Effect.fnUntraced(function* (
  input: AssemblyInput & { readonly addTokens?: string | undefined },
  opened: OpenedModel,
  screen: Screen
) {
  const ready = yield* usePrepared(opened, input, screen)
  return assemblyLayer(ready.input, yield* withAddedTokens(ready.model, input))
})

/** What a memory plan is made from. */
export const assemblyOf = Effect.fnUntraced(function* (input: Pick<BackendInput, "compute">) {
  const [backend, kernels, model, adapter] = [yield* Backend, yield* Kernels, yield* ModelLoader, yield* Adapter]
  const problem = adapter.plan.check(model.description, model.codec)
  if (problem !== undefined) return yield* new BadStack({ message: problem })
  const assembly: Assembly = { load: model.load, adapter: adapter.plan }
  const engine: { readonly compute: ActivationDType; readonly overrides: Overrides } = {
    compute: computeOf(input.compute, backend),
    overrides: kernels.overrides
  }
  return { backend, assembly, engine, description: model.description }
})

/** Opens the device with the planned memory and loads onto it; both go when the scope closes. */
export const openAssembled = Effect.fnUntraced(function* (
  screen: Screen,
  backend: Backend["Service"],
  assembly: Assembly,
  { arenaBytes }: MemoryPlan
) {
  const queue = yield* backend.open(arenaBytes)
  const scope = yield* Effect.acquireRelease(
    Effect.sync(() => new Scope(queue, "weights")),
    (owned) => Effect.sync(() => owned[Symbol.dispose]())
  )
  const total = loadBytes(backend.limits, assembly)
  const loading = assemble(queue, scope, assembly)
  let loaded = 0
  for (;;) {
    const next = yield* Effect.try({ try: () => loading.next(), catch: LoadError.from })
    if (next.done === true) {
      screen.live("")
      return { queue, model: next.value.model }
    }
    loaded += next.value.bytes
    yield* Effect.tryPromise({ try: () => queue.idle(), catch: LoadError.from })
    screen.live(`loading ${Math.round((100 * loaded) / total)} %  ${bytes(loaded)}`)
  }
})
