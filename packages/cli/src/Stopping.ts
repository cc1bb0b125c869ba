/**
 * Ctrl-C and SIGTERM. The first ends what runs: gently where a verb has said how, else by interruption, which still frees
 * and closes. A second one ends the process at once.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

export interface StopRequests {
  /** For as long as the scope lives, a first request does `gently` if that answers true. */
  readonly onFirst: (gently: () => boolean) => Effect.Effect<void, never, Scope.Scope>
}
/** Nobody asks, unless `watchSignals` provides otherwise. */
export class Stopping extends Context.Reference<StopRequests>("@graft/cli/Stopping", {
  defaultValue: () => ({ onFirst: () => Effect.void })
}) {}

const codes = { SIGINT: 130, SIGTERM: 143 } as const

/** Listens until `unwatch`; `asked` is the exit code of the signal that came first. */
export const watchSignals = () => {
  let gently: (() => boolean) | undefined
  let fiber: Fiber.Fiber<unknown, unknown> | undefined
  let asked: number | undefined
  const listener = (signal: keyof typeof codes) => {
    if (asked !== undefined) process.exit(codes[signal])
    asked = codes[signal]
    if (gently?.() !== true) fiber?.interruptUnsafe(fiber.id)
  }
  process.on("SIGINT", listener)
  process.on("SIGTERM", listener)
  const requests: StopRequests = {
    onFirst: (act) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          gently = act
        }),
        () =>
          Effect.sync(() => {
            gently = undefined
          })
      )
  }
  return {
    requests,
    attach: (running: Fiber.Fiber<unknown, unknown>) => {
      fiber = running
    },
    get asked() {
      return asked
    },
    unwatch: () => {
      process.off("SIGINT", listener)
      process.off("SIGTERM", listener)
    }
  }
}
