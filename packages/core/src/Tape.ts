/**
 * A tape of coarse ops. The tape holds exactly what a backward will read (`saved`) and nothing else: an op's output whose
 * value nobody saves is freed at the end of its scope, although its identity still routes the gradient; one that is cheap to
 * compute `again` is freed too. `backward` walks the
 * tape from its end; gradients on the way are freed once used, those of watched tensors go where the caller says.
 */
import type { ActivationDType, DType } from "./dtype.ts"
import type { Again, Arriving, Into, Leaf, Outputs, Overrides, Primitive } from "./Op.ts"
import { addInto } from "./ops/rows.ts"
import type { Kernel, Queue } from "./Queue.ts"
import { Scope, Tensor } from "./Tensor.ts"

interface Node {
  readonly name: string
  readonly outs: ReadonlyArray<Tensor>
  readonly held: ReadonlyArray<Tensor>
  readonly backward: Backward
}
/** `dys`: the gradients of the outputs, as far as somebody made them. */
type Backward = (dys: ReadonlyArray<Tensor | undefined>, into: Into) => void
/** What one primitive call touched; `checkpoint` plans its recomputation from a list of these. */
export interface Call {
  readonly name: string
  readonly inputs: ReadonlyArray<Tensor>
  readonly outs: ReadonlyArray<Tensor>
  readonly saved: ReadonlyArray<Tensor>
  readonly tracked: boolean
}
export interface GraphOptions {
  readonly overrides?: Overrides
  /** The dtype of activations; f32 unless said otherwise. */
  readonly activations?: ActivationDType
  /** Nothing is recorded; each call is reported. What `outer` tracks counts as tracked. */
  readonly probe?: { readonly outer: Graph; readonly observe: (call: Call) => void }
  /** Calls that are replayed for their shapes only, or of which nobody reads the output, by index. */
  readonly dead?: ReadonlyMap<number, "whole" | "output">
}

export class Graph implements Disposable {
  readonly queue: Queue
  readonly overrides: Overrides
  readonly activations: ActivationDType
  readonly #options: GraphOptions
  readonly #root: Scope
  #scope: Scope
  /** Whether nobody will read the output of the call that runs: then it need not be computed. */
  unread = false
  readonly #tracked = new Set<Tensor>()
  readonly #tape: Array<Node> = []
  readonly #holds = new Map<Tensor, number>()
  readonly #again = new Map<Tensor, Again>()
  #calls = 0

  constructor(queue: Queue, options: GraphOptions = {}) {
    this.queue = queue
    this.overrides = options.overrides ?? new Map()
    this.activations = options.activations ?? "f32"
    this.#options = options
    this.#root = this.#scope = new Scope(queue, "activations")
  }
  [Symbol.dispose](): void {
    this.#root[Symbol.dispose]()
  }

  tensor(shape: ReadonlyArray<number>, name: string, dtype: DType = this.activations): Tensor {
    return this.#scope.tensor(shape, name, dtype)
  }
  run<P>(kernel: Kernel<P>, operands: ReadonlyArray<Tensor>, params: P): void {
    this.queue.enqueue(kernel, operands, params)
  }
  /** Trainability belongs to the graph, not to the tensor. */
  watch(...parameters: ReadonlyArray<Tensor>): void {
    for (const t of parameters) this.#tracked.add(t)
  }
  needs(t: Tensor): boolean {
    return this.#tracked.has(t) || this.#options.probe?.outer.needs(t) === true
  }

  /** Runs `body` in a scope of its own; its result and what the tape holds move outwards, the rest is freed. */
  scoped<O extends Outputs>(body: () => O): O {
    const outer = this.#scope
    using inner = new Scope(this.queue, "activations")
    this.#scope = inner
    try {
      const out = body()
      const outs = outputsOf(out)
      for (const t of inner.owned)
        if (outs.includes(t) || (this.#holds.has(t) && !this.#again.has(t))) inner.move(t, outer)
      return out
    } finally {
      this.#scope = outer
    }
  }

  record<A extends ReadonlyArray<unknown>, S, O extends Outputs>(name: string, p: Primitive<A, S, O>, args: A): O {
    const inputs = tensorsIn(args)
    this.queue.origin = name
    const { out, saved, again } = this.forward(() => p.forward(this, ...args))
    const outs = outputsOf(out)
    if (again !== undefined && !again.from.some((t) => this.#again.has(t))) this.#again.set(again.of ?? outs[0]!, again)
    const kept = tensorsIn(saved)
    const captured = kept.find((t) => this.needs(t) && !inputs.includes(t))
    if (captured !== undefined)
      throw new TypeError(
        `${name}: ${captured.name} is trained but is no argument of the op, so it would get no gradient; pass it as an argument`
      )
    this.commit(
      { name, inputs, outs, saved: kept, tracked: inputs.some((t) => this.needs(t)) },
      (dys, into) => p.backward(this, (out instanceof Tensor ? dys[0] : dys) as Arriving<O>, saved, into) // as `out` is, so are they
    )
    for (const t of kept) if (!outs.includes(t) && !inputs.includes(t)) this.release(t) // if kept for a backward that will never come
    return out
  }
  /** Runs the forward of the next call: for its shapes only, where the recomputation plan says so. */
  forward<A>(run: () => A): A {
    const dead = this.#options.dead?.get(this.#calls++)
    this.unread = dead !== undefined
    return dead === "whole" ? this.queue.mute(run) : run()
  }
  /** Puts a call on the tape if it needs a gradient; a probe only reports it. */
  commit(call: Call, backward: Backward): void {
    this.#options.probe?.observe(call)
    if (!call.tracked) return
    for (const t of call.outs) this.#tracked.add(t)
    if (this.#options.probe !== undefined) return
    const held = call.saved.flatMap((t) => [t, ...(this.#again.get(t)?.from ?? [])])
    for (const t of held) this.#holds.set(t, (this.#holds.get(t) ?? 0) + 1)
    this.#tape.push({
      name: call.name,
      outs: call.outs,
      held,
      backward: (dys, into) => {
        if (dys.some((d) => d !== undefined)) backward(dys, into)
      }
    })
  }
  /** `enter` before and `leave` after `body`, in the forward pass and again around its backward. */
  bracket(enter: () => void, leave: () => void, body: () => Tensor): Tensor {
    const at = this.#tape.length
    enter()
    try {
      return body()
    } finally {
      leave()
      if (this.#tape.length > at) {
        // else nothing in it needs a gradient, and backward never comes by
        this.#tape.splice(at, 0, { name: "leave", outs: [], held: [], backward: leave })
        this.#tape.push({ name: "enter", outs: [], held: [], backward: enter })
      }
    }
  }
  /** Frees `t` early if the current scope owns it and the tape does not hold it. */
  release(t: Tensor): void {
    if (this.#scope.owned.has(t) && !this.#holds.has(t)) this.#scope.free(t)
  }
  /** Adopts a tensor made in another scope into the current one. */
  adopt(t: Tensor, from: Scope | undefined): void {
    from?.move(t, this.#scope)
  }

  /** Pulls `dy` back. `leaf` says where the gradients of watched tensors go; all others are freed once used. */
  backward(root: Tensor, dy: Tensor, leaf: Leaf): void {
    const gradients = new Map<Tensor, Tensor>([[root, dy]])
    const made = new Set<Tensor>(this.#tape.flatMap((n) => n.outs))
    const read = new Set<Tensor>() // what the node that runs reads and what it handed on
    const isShared = (d: Tensor, by?: Tensor) =>
      d === dy || [...gradients].some(([t, other]) => other === d && t !== by)
    const into: Into = Object.assign(
      (t: Tensor) => {
        if (!this.#tracked.has(t)) return undefined
        if (!made.has(t)) return leaf(t)
        const known = gradients.get(t)
        if (known !== undefined && !read.has(known) && !isShared(known, t)) return { tensor: known, accumulate: true }
        const fresh = this.#root.tensor(t.shape, `d(${t.name})`, t.dtype, "gradients")
        gradients.set(t, fresh)
        if (known !== undefined) addInto(this, fresh, known)
        return { tensor: fresh, accumulate: known !== undefined }
      },
      {
        share: (t: Tensor, d: Tensor) => {
          const fits = this.#tracked.has(t) && made.has(t) && !gradients.has(t)
          if (!fits || d.dtype !== t.dtype || d.size !== t.size) return false
          gradients.set(t, d)
          read.add(d)
          return true
        },
        pass: (t: Tensor, d: Tensor) => !isShared(d) && into.share(t, d)
      }
    )
    for (let node = this.#tape.pop(); node !== undefined; node = this.#tape.pop()) {
      read.clear()
      for (const t of node.outs.slice(1)) if (gradients.has(t)) into(t) // a buffer for each
      const dys = node.outs.map((t) => gradients.get(t))
      for (const [i, d] of dys.entries()) if (d !== undefined && gradients.delete(node.outs[i]!)) read.add(d)
      for (const t of node.held) this.#remake(t)
      this.queue.origin = `${node.name} backward`
      node.backward(dys, into)
      for (const d of dys) if (d !== undefined && !isShared(d)) this.#root.free(d)
      for (const t of node.held) this.#release(t)
    }
  }
  /** Gives a tensor that its scope freed its values again. */
  #remake(t: Tensor): void {
    const again = this.#again.get(t)
    if (again === undefined || t.state !== "freed") return
    t.moveTo(this.queue.allocate(t.bytes, "activations"))
    this.#root.move(t, this.#root)
    this.queue.origin = "computed again"
    again.run(t)
  }
  #release(t: Tensor): void {
    const left = (this.#holds.get(t) ?? 0) - 1
    if (left > 0) this.#holds.set(t, left)
    else {
      this.#holds.delete(t)
      if (t.scope === this.#root && this.#root.owned.has(t)) this.#root.free(t) // others belong to the model, the batch or an outer graph
    }
  }
}

const outputsOf = (out: Outputs): ReadonlyArray<Tensor> => (out instanceof Tensor ? [out] : out)
/** Tensors anywhere in arrays and plain objects. Class instances (a frozen Weight) are opaque: they hold no parameter. */
export const tensorsIn = (value: unknown): ReadonlyArray<Tensor> => {
  const found = new Set<Tensor>()
  const visit = (v: unknown): void => {
    if (v instanceof Tensor) found.add(v)
    else if (Array.isArray(v)) v.forEach(visit)
    else if (typeof v === "object" && v !== null && Object.getPrototypeOf(v) === Object.prototype)
      Object.values(v).forEach(visit)
  }
  visit(value)
  return [...found]
}
