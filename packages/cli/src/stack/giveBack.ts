import { collectGarbage } from "@graft/trainer"

/**
 * Gives back what this process needs no more: dead objects, and the machine code of what is over (opening, planning,
 * loading), which Bun would keep resident beside a step's memory. Code that runs on is compiled again, in some milliseconds.
 */
export const giveBack = (): void => {
  const runtime = globalThis as { readonly Bun?: { readonly shrink?: () => void } } // what a runtime may add
  runtime.Bun?.shrink?.()
  collectGarbage()
}
