/** The body of a kernel by its name. A kernel without one runs its slow body on host memory. */
import type { Kernel } from "@graft/core"
import { attentionBodies } from "./bodies/attention.ts"
import { dropoutBodies } from "./bodies/dropout.ts"
import { fourBitReader } from "./bodies/fourBit.ts"
import { networkBodies } from "./bodies/network.ts"
import { optimizerBodies } from "./bodies/optimizer.ts"
import { rowBodies } from "./bodies/rows.ts"
import { dense, weightBodies } from "./bodies/weights.ts"
import type { Body } from "./Call.ts"

const own: ReadonlyMap<string, Body> = new Map(
  Object.entries({
    ...rowBodies,
    ...networkBodies,
    ...attentionBodies,
    ...dropoutBodies,
    ...optimizerBodies,
    ...Object.fromEntries(Object.entries(weightBodies(dense)).map(([method, body]) => [`dense.${method}`, body]))
  })
)
/** Found once for a kernel, of which a codec has one for each block size. */
const found = new WeakMap<Kernel<never>, { readonly body: Body | undefined }>()

export const bodyOf = (kernel: Kernel<never>): Body | undefined => {
  const known = found.get(kernel) ?? { body: own.get(kernel.name) ?? weightBody(kernel) }
  found.set(kernel, known)
  return known.body
}
const weightBody = (kernel: Kernel<never>): Body | undefined => {
  const at = kernel.name.lastIndexOf(".")
  const [codec, method] = [kernel.name.slice(0, at), kernel.name.slice(at + 1)]
  const reader = fourBitReader(codec)
  return reader === undefined ? undefined : weightBodies(reader)[method]
}
