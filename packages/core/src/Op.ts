/**
 * An op in one of three forms with one call syntax: primitive, composed, override. A backward does not return gradients, it
 * writes them where `into` says, so that a gradient lands in its flat arena, adds up without a temporary and never relies on
 * zeroed memory.
 */
import type { Graph } from "./Tape.ts"
import type { Tensor } from "./Tensor.ts"

/** Where to write a gradient: overwrite, or add when somebody wrote before. */
export interface Destination {
  readonly tensor: Tensor
  readonly accumulate: boolean
}
/** Destinations of the gradients of watched tensors. */
export type Leaf = (t: Tensor) => Destination | undefined
/** `undefined`: nobody wants it. Ask only just before writing: the next to ask will be told to accumulate. */
export interface Into extends Leaf {
  /** Makes `dy` itself the gradient of `t`, which may then be changed where it lies. False where that can't be: then write as usual. */
  readonly pass: (t: Tensor, dy: Tensor) => boolean
  /** Makes it that of `t` too, where others have it already: whoever adds to one of them first gets a copy. Likewise. */
  readonly share: (t: Tensor, dy: Tensor) => boolean
}

/** How to compute an op's output again from what the tape holds anyway: then the tape need not hold the output. For cheap ops. */
export interface Again {
  /** Which of several outputs. */
  readonly of?: Tensor
  readonly from: ReadonlyArray<Tensor>
  readonly run: (out: Tensor) => void
}
/** What an op makes. */
export type Outputs = Tensor | readonly [Tensor, ...ReadonlyArray<Tensor>]
/** The gradient of the output; of several, one each, of which some but not all may be missing. */
export type Arriving<O extends Outputs> = O extends Tensor ? Tensor : { readonly [I in keyof O]: Tensor | undefined }
export interface Primitive<A extends ReadonlyArray<unknown>, S, O extends Outputs = Tensor> {
  /** Frees its own temporaries, except what `saved` names. */
  readonly forward: (g: Graph, ...args: A) => { readonly out: O; readonly saved: S; readonly again?: Again }
  readonly backward: (g: Graph, dy: Arriving<O>, saved: S, into: Into) => void
}
type Body<A extends ReadonlyArray<unknown>, O extends Outputs = Tensor> = (g: Graph, ...args: A) => O
export interface Op<A extends ReadonlyArray<unknown>, O extends Outputs = Tensor> extends Body<A, O> {
  readonly opName: string
}
/** One entry of the op table: what a layer replaced. `never` because each op has its own arguments; `override` keeps them in step. */
export interface Override {
  readonly op: string
  readonly implementation: string
  readonly body: Body<never, Outputs>
}
export type Overrides = ReadonlyMap<string, Override>

const call = <A extends ReadonlyArray<unknown>, O extends Outputs>(opName: string, composed: Body<A, O>): Op<A, O> =>
  Object.assign(
    (g: Graph, ...args: A) => ((g.overrides.get(opName)?.body as Body<A, O> | undefined) ?? composed)(g, ...args), // typed by `override`
    { opName }
  )
/** A hand-written forward and backward. */
export const definePrimitive = <A extends ReadonlyArray<unknown>, S, O extends Outputs>(
  name: string,
  p: Primitive<A, S, O>
): Op<A, O> => call(name, (g, ...args) => g.record(name, p, args))
/** An op written with other ops: its gradient is free, and what it makes on the way dies with it unless the tape holds it. */
export const defineOp = <A extends ReadonlyArray<unknown>, O extends Outputs>(
  name: string,
  body: Body<A, O>
): Op<A, O> => call(name, (g, ...args) => g.scoped(() => body(g, ...args)))
/** A fused pair for an op that somebody else declared, typed by that op's own arguments. */
export const override = <A extends ReadonlyArray<unknown>, S, O extends Outputs>(
  op: Op<A, O>,
  p: Primitive<A, S, NoInfer<O>>,
  implementation = "fused"
): Override => ({
  op: op.opName,
  implementation,
  body: ((g: Graph, ...args: A) => g.record(`${op.opName} (${implementation})`, p, args)) as Body<never, Outputs> // see Override
})

/** A tensor of which a backward reads the shape and the identity, not the values: the tape does not hold it. */
export class Routed {
  readonly tensor: Tensor
  constructor(tensor: Tensor) {
    this.tensor = tensor
  }
}
