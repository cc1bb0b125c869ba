/**
 * Dropout. The draws are Philox's, products of 32-bit integers, which no tensor of floats holds: the host draws the mask from
 * the row keys, which it uploaded itself, and the device multiplies by it.
 */
import { philox, toUnit } from "@graft/core"
import { added, type Body, placed, rowsFrom } from "../Call.ts"

const lanes = new Uint32Array(4)

export const dropoutBodies: Readonly<Record<string, Body>> = {
  dropout: (call) => {
    const { tf, number } = call
    const [rate, rows, width, outRow, keyRow] = ["rate", "rows", "width", "outRow", "keyRow"].map(number) as [
      number,
      number,
      number,
      number,
      number
    ] // map keeps the length
    const keys = call.integers(2, () => new Int32Array(2 * (keyRow + rows)))
    const mask = (): Float32Array => {
      const [seed, site, step] = [number("seed"), number("site"), number("step")]
      const factors = new Float32Array(rows * width)
      for (let t = 0; t < rows; t++) {
        const key = 2 * (keyRow + t)
        for (let c = 0; c < width; c++) {
          if (c % 4 === 0) philox(lanes, seed, site, c / 4, keys[key + 1]!, keys[key]!, step)
          factors[t * width + c] = toUnit(lanes[c % 4]!) >= rate ? 1 / (1 - rate) : 0
        }
      }
      return factors
    }
    const x = rowsFrom(tf, call.at(1), number("xRow"), rows)
    const piece = tf.mul(x, call.upload(mask, [rows, width]))
    return [placed(call, added(call, piece, outRow), outRow)]
  }
}
