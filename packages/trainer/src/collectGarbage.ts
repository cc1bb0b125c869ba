/**
 * Gives back what opening, planning and loading left on the JavaScript heap, before a step takes its memory: the process is
 * largest in a step, and what lies there then is resident beside it. Bun can be told; other runtimes only with --expose-gc.
 */
export const collectGarbage = (): void => {
  const runtime = globalThis as { readonly Bun?: { readonly gc: (force: boolean) => void }; readonly gc?: () => void } // what a runtime may add
  runtime.Bun?.gc(true)
  runtime.gc?.()
}
