/** `Bun 1.4.5`: what runs this process. */
export const runtimeName = (): string => {
  const { bun, deno, node } = process.versions
  return bun !== undefined ? `Bun ${bun}` : deno !== undefined ? `Deno ${deno}` : `Node ${node}`
}
