/** A memory plan by category, and its sum to the byte. */
import type { MemoryPlan } from "@graft/core"
import { bytes, whole } from "./quantities.ts"
import { table } from "./table.ts"

export const memoryTable = ({ atPeak, byCategory, arenaBytes, fixedBytes, peakBytes }: MemoryPlan): string => {
  const live = [...atPeak.values()].reduce((a, b) => a + b, 0)
  const between = arenaBytes.reduce((a, b) => a + b, 0) - live
  const rows = [...byCategory]
    .filter(([, most]) => most > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([category, most]) => [category, bytes(atPeak.get(category) ?? 0), bytes(most)])
  return table([
    ["memory", "at the peak", "at most"],
    ...rows,
    ...(between > 0 ? [["holes between", bytes(between), ""]] : []),
    ...(fixedBytes > 0 ? [["the device's own", bytes(fixedBytes), bytes(fixedBytes)]] : []),
    ["in all", bytes(peakBytes), `${whole(peakBytes)} bytes`]
  ])
}
