/** Drives a load, waiting for the device between tensors, so that at most one is on its way and the event loop lives. */
import { type AdapterPlan, LoadError, type Queue, TrainEvent } from "@graft/core"
import { Deferred, Effect } from "effect"
import { makeSessions, type Recipe, type Session } from "./Session.ts"

/** Undefined if it was stopped: what had arrived goes with the queue. */
export const loadSessions = Effect.fnUntraced(function* (
  queue: Queue,
  recipe: Recipe,
  adapters: ReadonlyArray<AdapterPlan>,
  stopped: Deferred.Deferred<void>,
  emit: (event: TrainEvent) => Effect.Effect<void>
): Effect.fn.Return<ReadonlyArray<Session> | undefined, LoadError> {
  const loading = makeSessions(queue, recipe, adapters)
  let loadedBytes = 0
  while (!(yield* Deferred.isDone(stopped))) {
    const next = yield* Effect.try({ try: () => loading.next(), catch: LoadError.from })
    if (next.done === true) return next.value
    loadedBytes += next.value.bytes
    yield* Effect.tryPromise({ try: () => queue.idle(), catch: LoadError.from })
    yield* emit(TrainEvent.Load({ ...next.value, loadedBytes }))
  }
  return undefined
})
