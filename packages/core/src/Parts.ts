// A part is one piece of a stack and the parts it was built on. Every layer registers its part when it is built; what the
// trainer can reach is in use; what was built and cannot be reached was provided for nothing, and that is an error.
// `provide` says the same to the type checker, wherever the requirements are visible there.
import { Effect, Layer, Option } from "effect"

export interface Part {
  readonly part: { readonly name: string; readonly uses: ReadonlyArray<Part> }
}

/** Parts by the memo map of the build they belong to, so that two stacks in one process do not mix. */
const built = new WeakMap<Layer.MemoMap, Set<Part["part"]>>()

const ofThisBuild = Effect.map(
  Effect.serviceOption(Layer.CurrentMemoMap),
  Option.match({
    onNone: () => new Set<Part["part"]>(),
    onSome: (memo) => {
      const known = built.get(memo) ?? new Set<Part["part"]>()
      built.set(memo, known)
      return known
    }
  })
)
/** Makes and registers a part; to be called inside a layer. */
export const makePart = (name: string, ...uses: ReadonlyArray<Part>): Effect.Effect<Part["part"]> =>
  Effect.map(ofThisBuild, (known) => {
    const part = { name, uses }
    known.add(part)
    return part
  })

const reach = (part: Part["part"], found = new Set<Part["part"]>()): ReadonlySet<Part["part"]> => {
  found.add(part)
  for (const { part: used } of part.uses) reach(used, found)
  return found
}
export interface Inventory {
  readonly inUse: ReadonlyArray<string>
  readonly unused: ReadonlyArray<string>
}
/** Asked at run time, when all layers of the stack are built. */
export const partsOf = (root: Part["part"]): Effect.Effect<() => Inventory> =>
  Effect.map(ofThisBuild, (known) => () => {
    const inUse = reach(root)
    return { inUse: [...inUse].map((p) => p.name), unused: [...known].filter((p) => !inUse.has(p)).map((p) => p.name) }
  })

/** Not a layer: using it as one is the compile error. */
export interface NobodyAboveNeeds<Services> {
  readonly "provided, but nobody above needs": Services
}

/** `Layer.provide`, except that it is an error to provide what is not asked for. */
export const provide =
  <ROut2, E2, RIn2>(that: Layer.Layer<ROut2, E2, RIn2>) =>
  <ROut, E, RIn>(
    self: Layer.Layer<ROut, E, RIn>
  ): [Extract<RIn, ROut2>] extends [never]
    ? NobodyAboveNeeds<ROut2>
    : Layer.Layer<ROut, E | E2, RIn2 | Exclude<RIn, ROut2>> =>
    Layer.provide(self, that) as never // the conditional type is decided by the caller's types alone
