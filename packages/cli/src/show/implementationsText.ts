import type { TrainEvent } from "@graft/core"

type Implementations = Extract<TrainEvent, { readonly _tag: "Plan" }>["implementations"]

/** `fused: loraQkv, loraMlp; in place: rope; core: embedding, attention`. */
export const implementationsText = (implementations: Implementations): string => {
  const kinds = new Set(implementations.map(({ implementation }) => implementation))
  const rank = (kind: string): number => (kind === "core" ? 1 : 0)
  return [...kinds]
    .sort((a, b) => rank(a) - rank(b))
    .map((kind) => {
      const ops = implementations.filter(({ implementation }) => implementation === kind).map(({ op }) => op)
      return `${kind}: ${ops.join(", ")}`
    })
    .join("; ")
}
