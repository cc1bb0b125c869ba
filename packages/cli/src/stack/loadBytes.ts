import { type Assembly, assemble, type Limits, MetaQueue, Scope } from "@graft/core"

/** What a load will count up to, found on the meta queue. */
export const loadBytes = (limits: Limits, assembly: Assembly): number => {
  const queue = new MetaQueue(limits)
  using scope = new Scope(queue, "weights")
  const loading = assemble(queue, scope, assembly)
  let total = 0
  for (let next = loading.next(); next.done !== true; next = loading.next()) total += next.value.bytes
  return total
}
