/**
 * f32 → bf16 in float arithmetic, since no tensor gives its bits: Veltkamp's splitting (Dekker, Numer. Math. 18, 1971) of 24 bits
 * into 8 and 16. That it rounds to nearest, ties to even, holds for every significand of an f32 (rounding.test.ts).
 */
import { scalar } from "./Call.ts"
import type { Handle, Ops } from "./TensorFlow.ts"

const SPLIT = 2 ** 16 + 1
/** Numbers from here on are rounded 2^-64 times smaller, so that the splitting stays finite. */
const LARGE = 2 ** 64

/** The values of `x` rounded; infinities and NaN stay. */
export const roundToBf16 = <T extends Handle>(tf: Ops<T>, x: T): T =>
  tf.tidy(() => {
    const number = (value: number) => scalar(tf, value)
    const large = tf.cast(tf.greater(tf.abs(x), number(LARGE)), "float32")
    const scale = tf.add(tf.sub(number(1), large), tf.mul(large, number(1 / LARGE)))
    const y = tf.mul(x, scale)
    const spread = tf.mul(y, number(SPLIT))
    const rounded = tf.div(tf.sub(spread, tf.sub(spread, y)), scale)
    return tf.where(tf.isFinite(x), rounded, x)
  })
