/** rmsNorm, rope, swiglu, geglu, soft cap, cross-entropy and the embedding's gradient, forward and backward; the formulas are the kernels' in core. */
import {
  added,
  type Body,
  type Call,
  columnsOf,
  placed,
  product,
  rowsFrom,
  rowsOf,
  scalar,
  sizeOf,
  whole
} from "../Call.ts"
import type { Handle, Ops } from "../TensorFlow.ts"

/** 1 / rms of the rows of x [t, n], as [t, 1]. */
const inverseRms = <T extends Handle>(tf: Ops<T>, x: T, epsilon: number): T => {
  const mean = tf.mul(tf.sum(tf.mul(x, x), 1, true), scalar(tf, 1 / x.shape[1]!))
  return tf.div(scalar(tf, 1), tf.sqrt(tf.add(mean, scalar(tf, epsilon))))
}

const rmsNorm: Body = (call) => {
  const { tf } = call
  const n = sizeOf(call.shapes[2]!)
  const x = call.at(1, [-1, n])
  return [tf.mul(tf.mul(x, inverseRms(tf, x, call.number("epsilon"))), call.at(2, [n]))]
}
const addRmsNorm: Body = (call) => {
  const { tf } = call
  const n = sizeOf(call.shapes[4]!)
  const h = tf.add(call.at(2, [-1, n]), call.at(3, [-1, n]))
  return [h, tf.mul(tf.mul(h, inverseRms(tf, h, call.number("epsilon"))), call.at(4, [n]))]
}
const rmsNormBackwardX: Body = (call) => {
  const { tf } = call
  const n = sizeOf(call.shapes[3]!)
  const x = call.at(2, [-1, n])
  const r = inverseRms(tf, x, call.number("epsilon"))
  const dyw = tf.mul(call.at(1, [-1, n]), call.at(3, [n]))
  const dot = tf.mul(tf.mul(tf.mul(r, r), tf.sum(tf.mul(dyw, x), 1, true)), scalar(tf, 1 / n))
  return [whole(call, tf.mul(r, tf.sub(dyw, tf.mul(x, dot))))]
}
const rmsNormBackwardW: Body = (call) => {
  const { tf } = call
  const n = sizeOf(call.shapes[0]!)
  const x = call.at(2, [-1, n])
  const r = inverseRms(tf, x, call.number("epsilon"))
  return [whole(call, tf.sum(tf.mul(call.at(1, [-1, n]), tf.mul(x, r)), 0, false))]
}

const ropeTable: Body = (call) => {
  const { tf } = call
  const [tokens, half] = [rowsOf(call, 1), sizeOf(call.shapes[2]!)]
  const positions = tf.cast(tf.slice(call.at(1, [tokens, 2]), [0, 1], [tokens, 1]), "float32")
  const angles = tf.mul(positions, call.at(2, [half]))
  const scale = scalar(tf, call.number("scale"))
  return [tf.concat([tf.mul(tf.cos(angles), scale), tf.mul(tf.sin(angles), scale)], 1)]
}
/**
 * y = x ∘ C + (x R) ∘ S by heads: R [headDim, headDim] exchanges the halves and turns the sign of the second, so that nothing is
 * cut out of rows; the other way round it is transposed.
 */
const rope: Body = (call) => {
  const { tf, number } = call
  const [tokens, heads, headDim] = [rowsOf(call, 1), number("heads"), number("headDim")]
  const half = headDim / 2
  const rotation = (): Float32Array => {
    const r = new Float32Array(headDim * headDim)
    for (let i = 0; i < half; i++) {
      r[i * headDim + half + i] = 1
      r[(half + i) * headDim + i] = -1
    }
    return r
  }
  const turned = product(
    tf,
    call.at(1, [tokens * heads, headDim]),
    call.constant(`rotation of ${headDim}`, rotation, [headDim, headDim]),
    false,
    call.flag("inverse")
  )
  const ofTable = (first: number) => {
    const column = tf.slice(call.at(2), [0, first], [tokens, half])
    return tf.concat(Array<typeof column>(2 * heads).fill(column), 1)
  }
  const all = [tokens, heads * headDim]
  return [whole(call, tf.add(tf.mul(call.at(1, all), ofTable(0)), tf.mul(tf.reshape(turned, all), ofTable(half))))]
}

/** y = f(gate) · up, and its gradients of gate and up. */
interface GatedUnit {
  readonly y: <T extends Handle>(tf: Ops<T>, gate: T, up: T) => T
  readonly gradients: <T extends Handle>(tf: Ops<T>, dy: T, gate: T, up: T) => readonly [T, T]
}
const gated =
  ({ y }: GatedUnit): Body =>
  (call) => {
    const n = [sizeOf(call.shapes[0]!)]
    return [y(call.tf, call.at(1, n), call.at(2, n))]
  }
const gatedBackward =
  ({ gradients }: GatedUnit): Body =>
  (call) => {
    const n = [sizeOf(call.shapes[0]!)]
    return gradients(call.tf, call.at(2, n), call.at(3, n), call.at(4, n))
  }
const gatedBackwardWithY =
  ({ y, gradients }: GatedUnit): Body =>
  (call) => {
    const n = [sizeOf(call.shapes[0]!)]
    const [gate, up] = [call.at(4, n), call.at(5, n)]
    return [...gradients(call.tf, call.at(3, n), gate, up), y(call.tf, gate, up)]
  }

const silu: GatedUnit = {
  y: (tf, gate, up) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up),
  gradients: (tf, dy, gate, up) => {
    const one = scalar(tf, 1)
    const s = tf.sigmoid(gate)
    const slope = tf.mul(s, tf.add(one, tf.mul(gate, tf.sub(one, s))))
    return [tf.mul(tf.mul(dy, up), slope), tf.mul(tf.mul(dy, gate), s)]
  }
}
/** σ(2 √(2/π) (x + 0.044715 x³)): the share of x that GELU by tanh lets through. */
const GELU = [2 * Math.sqrt(2 / Math.PI), 0.044715] as const
const geluShare = <T extends Handle>(tf: Ops<T>, x: T): T => {
  const cube = tf.mul(scalar(tf, GELU[1]), tf.mul(x, tf.mul(x, x)))
  return tf.sigmoid(tf.mul(scalar(tf, GELU[0]), tf.add(x, cube)))
}
const gelu: GatedUnit = {
  y: (tf, gate, up) => tf.mul(tf.mul(gate, geluShare(tf, gate)), up),
  gradients: (tf, dy, gate, up) => {
    const one = scalar(tf, 1)
    const s = geluShare(tf, gate)
    const inner = tf.add(one, tf.mul(scalar(tf, 3 * GELU[1]), tf.mul(gate, gate)))
    const bend = tf.mul(tf.mul(gate, tf.sub(one, s)), tf.mul(scalar(tf, GELU[0]), inner))
    return [tf.mul(tf.mul(dy, up), tf.mul(s, tf.add(one, bend))), tf.mul(tf.mul(dy, gate), s)]
  }
}

/** The targets as one-hot rows by comparing, [rows, vocab]: a target below 0 has none. */
const oneHotOf = <T extends Handle>(call: Call<T>, targets: T, vocab: number): T => {
  const columns = call.upload(() => Float32Array.from({ length: vocab }, (_, i) => i), [vocab])
  return call.tf.cast(call.tf.equal(targets, columns), "float32")
}
const bent = <T extends Handle>(tf: Ops<T>, z: T, softCap: number): T =>
  tf.mul(tf.tanh(tf.mul(z, scalar(tf, 1 / softCap))), scalar(tf, softCap))
const softCap: Body = (call) => [bent(call.tf, call.at(0), call.number("softCap"))]

const crossEntropyRows: Body = (call) => {
  const { tf, number } = call
  const [rows, vocab, row0] = [number("rows"), number("vocab"), number("row0")]
  const [cap, smoothing] = [number("softCap"), number("smoothing")]
  const raw = call.at(call.shapes.length > 3 ? 3 : 1, [rows, vocab])
  const targets = tf.cast(rowsFrom(tf, call.at(2, [-1, 1]), row0, rows), "float32")
  const learnt = tf.cast(tf.greater(targets, scalar(tf, -0.5)), "float32")
  const [losses, out] = tf.tidy(() => {
    const logits = cap > 0 ? bent(tf, raw, cap) : raw
    const hot = oneHotOf(call, targets, vocab)
    // What each logit is learnt by: a target's weight, less what is spread over all of them.
    const wanted =
      smoothing > 0
        ? tf.add(tf.mul(hot, scalar(tf, 1 - smoothing)), tf.mul(learnt, scalar(tf, smoothing / vocab)))
        : hot
    const shifted = tf.sub(logits, tf.max(logits, 1, true))
    const exponentials = tf.exp(shifted)
    const sum = tf.sum(exponentials, 1, true)
    const own = tf.mul(learnt, tf.sub(tf.log(sum), tf.sum(tf.mul(wanted, shifted), 1, true)))
    if (!call.flag("gradient")) return cap > 0 ? [own, logits] : [own]
    const slope = tf.sub(tf.mul(exponentials, tf.div(learnt, sum)), wanted)
    if (cap === 0) return [own, slope]
    const share = tf.mul(logits, scalar(tf, 1 / cap))
    return [own, tf.mul(slope, tf.sub(scalar(tf, 1), tf.mul(share, share)))]
  })
  return [placed(call, losses!, row0), out ?? raw]
}

/** TensorFlow's scatter adds repeated ids in no fixed order, so rows of one id meet in a product by ones and zeros before. */
const gatherGradient: Body = (call) => {
  const { tf } = call
  const [vocab, width, tokens] = [rowsOf(call, 0), columnsOf(call, 0), sizeOf(call.shapes[2]!)]
  const ids = call.integers(2, () => Array.from({ length: tokens }, (_, i) => i))
  const places = new Map<number, number>()
  for (let t = 0; t < tokens; t++) if (!places.has(ids[t]!)) places.set(ids[t]!, places.size)
  const meeting = (): Float32Array => {
    const ones = new Float32Array(places.size * tokens)
    for (let t = 0; t < tokens; t++) ones[places.get(ids[t]!)! * tokens + t] = 1
    return ones
  }
  const distinct = call.upload(() => Int32Array.from(places.keys()), [places.size, 1], "int32")
  const sums = product(tf, call.upload(meeting, [places.size, tokens]), call.at(1, [tokens, width]), false, false)
  return [added(call, tf.scatterND(distinct, sums, [vocab, width]))]
}

export const networkBodies: Readonly<Record<string, Body>> = {
  rmsNorm,
  addRmsNorm,
  rmsNormBackwardX,
  rmsNormBackwardW,
  ropeTable,
  rope,
  swiglu: gated(silu),
  swigluBackward: gatedBackward(silu),
  swigluBackwardWithY: gatedBackwardWithY(silu),
  geglu: gated(gelu),
  gegluBackward: gatedBackward(gelu),
  gegluBackwardWithY: gatedBackwardWithY(gelu),
  softCap,
  crossEntropyRows,
  gatherGradient
}
