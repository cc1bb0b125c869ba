/** sumSquares, clipControl, stepGuard, adamW and DoRA's norm, in the order in which core's bodies round. */
import { type Body, positiveSum, product, scalar, sizeOf } from "../Call.ts"

const sumSquares: Body = (call) => {
  const { tf } = call
  const [slots, slot] = [sizeOf(call.shapes[0]!), call.number("slot")]
  const x = call.at(1, [sizeOf(call.shapes[1]!)])
  const sum = positiveSum(tf, tf.mul(x, x))
  const old = call.at(0, [slots])
  const parts = [
    ...(slot > 0 ? [tf.slice(old, [0], [slot])] : []),
    sum,
    ...(slot + 1 < slots ? [tf.slice(old, [slot + 1], [slots - slot - 1])] : [])
  ]
  return [parts.length === 1 ? sum : tf.concat(parts, 0)]
}

/** Nothing here waits for the host: the coefficient and whether all is finite stay on the device. */
const clipControl: Body = (call) => {
  const { tf } = call
  const number = (value: number) => tf.fill([1], value, "float32")
  const maxNorm = call.number("maxNorm")
  const tokens = call.at(2, [1])
  const norm = tf.div(tf.sqrt(positiveSum(tf, call.at(1, [sizeOf(call.shapes[1]!)]))), tokens)
  const both = tf.mul(tf.cast(tf.isFinite(norm), "float32"), tf.cast(tf.greater(tokens, number(0)), "float32"))
  const clip = maxNorm > 0 ? tf.minimum(number(1), tf.div(number(maxNorm), tf.add(norm, number(1e-6)))) : number(1)
  const usable = tf.equal(both, number(1))
  const factor = tf.where(usable, tf.div(clip, tokens), number(0))
  const steps = tf.add(tf.slice(call.at(0, [4]), [2], [1]), both)
  return [tf.concat([factor, both, steps, norm], 0)]
}

/** Steps whose losses the mean remembers, and those it needs before it judges: core's. */
const [MEMORY, LEARNING] = [20, 10]
/** Like clipControl, on the device. Truth is 1 and falsehood 0. */
const stepGuard: Body = (call) => {
  const { tf } = call
  const [spike, halts] = [call.number("spike"), call.flag("halts")]
  const number = (value: number) => tf.fill([1], value, "float32")
  const of = (operand: number, size: number, i: number) =>
    size === 1 ? call.at(operand, [1]) : tf.slice(call.at(operand, [size]), [i], [1])
  const above = (a: ReturnType<typeof number>, b: ReturnType<typeof number>) => tf.cast(tf.greater(a, b), "float32")
  const not = (a: ReturnType<typeof number>) => tf.sub(number(1), a)
  const [factor, finite, steps, norm] = [of(0, 4, 0), of(0, 4, 1), of(0, 4, 2), of(0, 4, 3)]
  const [memory, seen, halted] = [of(1, 3, 0), of(1, 3, 1), of(2, 1, 0)]
  const mean = tf.div(of(3, 1, 0), of(4, 1, 0))
  const judges = spike > 0 ? above(seen, number(LEARNING - 0.5)) : number(0)
  const limit = tf.mul(judges, tf.mul(memory, number(spike)))
  const spikes = tf.mul(above(limit, number(0)), above(mean, limit))
  const bad = tf.maximum(spikes, not(tf.cast(tf.isFinite(mean), "float32")))
  const applied = not(tf.cast(tf.equal(finite, number(0)), "float32"))
  const good = tf.mul(tf.mul(applied, tf.cast(tf.equal(halted, number(0)), "float32")), not(bad))
  const isGood = tf.equal(good, number(1))
  const seenNow = tf.add(seen, good)
  const nearer = tf.add(
    memory,
    tf.div(tf.sub(mean, memory), tf.maximum(number(1), tf.minimum(number(MEMORY), seenNow)))
  )
  return [
    tf.concat(
      [
        tf.where(isGood, factor, number(0)),
        tf.where(isGood, finite, number(0)),
        tf.sub(steps, tf.mul(applied, not(good))),
        norm
      ],
      0
    ),
    tf.concat([tf.where(isGood, nearer, memory), seenNow, limit], 0),
    halts ? tf.maximum(halted, tf.mul(bad, not(good))) : halted
  ]
}

const adamW: Body = (call) => {
  const { tf } = call
  const n = [sizeOf(call.shapes[0]!)]
  const [w, m, v, g, control] = [call.at(0, n), call.at(1, n), call.at(2, n), call.at(3, n), call.at(4, [4])]
  const number = (value: number) => scalar(tf, value)
  const [rate, beta1, beta2] = [call.number("learningRate"), call.number("beta1"), call.number("beta2")]
  const scalarAt = (i: number) => tf.reshape(tf.slice(control, [i], [1]), [])
  /** 1 − βᵗ for the count of steps t: by expm1, since the difference of two f32 has few digits. */
  const correction = (beta: number) => tf.mul(tf.expm1(tf.mul(scalarAt(2), number(Math.log(beta)))), number(-1))
  return tf.tidy(() => {
    const d = tf.mul(g, scalarAt(0))
    const m2 = tf.add(m, tf.mul(number(1 - beta1), tf.sub(d, m)))
    const v2 = tf.add(tf.mul(v, number(beta2)), tf.mul(tf.mul(number(1 - beta2), d), d))
    const stepSize = tf.div(number(rate), correction(beta1))
    const denominator = tf.add(tf.div(tf.sqrt(v2), tf.sqrt(correction(beta2))), number(call.number("epsilon")))
    const w2 = tf.sub(
      tf.mul(w, number(1 - rate * call.number("weightDecay"))),
      tf.div(tf.mul(stepSize, m2), denominator)
    )
    const unusable = tf.equal(scalarAt(1), number(0))
    return [tf.where(unusable, w, w2), tf.where(unusable, m, m2), tf.where(unusable, v, v2)]
  })
}

const doraNorm: Body = (call) => {
  const { tf } = call
  const out = sizeOf(call.shapes[0]!)
  const rank = sizeOf(call.shapes[2]!) / out
  const scale = call.number("scale")
  const b = call.at(2, [out, rank])
  const number = (value: number) => scalar(tf, value)
  const cross = tf.sum(tf.mul(b, tf.transpose(call.at(3, [rank, out]), [1, 0])), 1, false)
  const own = tf.sum(tf.mul(product(tf, b, call.at(4, [rank, rank]), false, false), b), 1, false)
  const squares = tf.add(
    tf.add(call.at(1, [out]), tf.mul(cross, number(2 * scale))),
    tf.mul(own, number(scale * scale))
  )
  return [tf.sqrt(tf.maximum(squares, number(0)))]
}

export const optimizerBodies: Readonly<Record<string, Body>> = { sumSquares, clipControl, stepGuard, adamW, doraNorm }
