/**
 * Attention by segments. The host knows the segments, since it uploaded them; queries go through in blocks, so that scores
 * [key heads, group · queries, keys] are never whole. Query heads of one key head lie beside each other: the group.
 */
import { type Body, type Call, product, rowsFrom, rowsOf, scalar } from "../Call.ts"
import type { Handle, Ops } from "../TensorFlow.ts"

/** Queries that see their keys at one time: a block of scores is so many times the keys. */
const QUERIES = 128

/** Queries [row, row + rows) and keys [keyRow, keyRow + keys); query i sees keys up to past + i, of them the last `window`. */
interface Block {
  readonly row: number
  readonly rows: number
  readonly keyRow: number
  readonly keys: number
  readonly past: number
}
interface Sizes {
  readonly kvHeads: number
  readonly group: number
  readonly headDim: number
  readonly scale: number
  /** 0: all. */
  readonly window: number
  /** 0: none. */
  readonly softCap: number
}
const sizesOf = <T>({ number }: Call<T>): Sizes => ({
  kvHeads: number("kvHeads"),
  group: number("heads") / number("kvHeads"),
  headDim: number("headDim"),
  scale: number("scale"),
  window: number("window"),
  softCap: number("softCap")
})
/** A plan, which knows no segment, assumes one of all rows: what takes most. */
const blocksOf = <T>(call: Call<T>, segmentsAt: number, tokens: number, allKeys: number): ReadonlyArray<Block> => {
  const segments = call.integers(segmentsAt, () => [0, Math.min(tokens, allKeys), 0, allKeys])
  const window = call.number("window")
  const blocks: Array<Block> = []
  for (let s = 0; s < segments.length; s += 4) {
    const [query, queries, keyRow, keys] = [0, 1, 2, 3].map((i) => segments[s + i]!) as [number, number, number, number] // map keeps the length
    for (let from = 0; from < queries; from += QUERIES) {
      const rows = Math.min(QUERIES, queries - from)
      const past = keys - queries + from
      const unseen = window > 0 ? Math.max(0, past + 1 - window) : 0 // keys before the window of the first query
      blocks.push({
        row: query + from,
        rows,
        keyRow: keyRow + unseen,
        keys: past + rows - unseen,
        past: past - unseen
      })
    }
  }
  return blocks
}
/** Rows of [tokens, heads · headDim] as [key heads, group · rows, headDim]. */
const byHead = <T extends Handle>(tf: Ops<T>, x: T, row: number, rows: number, group: number, s: Sizes): T =>
  tf.reshape(tf.transpose(tf.reshape(rowsFrom(tf, x, row, rows), [rows, s.kvHeads, group, s.headDim]), [1, 2, 0, 3]), [
    s.kvHeads,
    group * rows,
    s.headDim
  ])
const byRow = <T extends Handle>(tf: Ops<T>, x: T, rows: number, group: number, s: Sizes): T =>
  tf.reshape(tf.transpose(tf.reshape(x, [s.kvHeads, group, rows, s.headDim]), [2, 0, 1, 3]), [
    rows,
    s.kvHeads * group * s.headDim
  ])
/**
 * Scores [key heads, group, rows, keys] = scale · q kᵀ, capped, and far below 0 where a query may not see; `slope`: by what a
 * cap c lessens their gradient, 1 − (s/c)².
 */
const scoresOf = <T extends Handle>(call: Call<T>, q: T, k: T, { rows, keys, past }: Block, s: Sizes) => {
  const { tf } = call
  const mask = (): Float32Array => {
    const hidden = new Float32Array(rows * keys)
    for (let i = 0; i < rows; i++) {
      hidden.fill(-1e30, i * keys + past + i + 1, (i + 1) * keys)
      if (s.window > 0) hidden.fill(-1e30, i * keys, i * keys + Math.max(0, past + i + 1 - s.window))
    }
    return hidden
  }
  const dots = product(tf, q, k, false, true)
  const capped = s.softCap > 0 ? tf.tanh(tf.mul(dots, scalar(tf, s.scale / s.softCap))) : dots
  const scaled = tf.mul(capped, scalar(tf, s.softCap > 0 ? s.softCap : s.scale))
  return {
    scores: tf.add(tf.reshape(scaled, [s.kvHeads, s.group, rows, keys]), call.upload(mask, [rows, keys])),
    slope: s.softCap > 0 ? () => tf.sub(scalar(tf, 1), tf.mul(capped, capped)) : undefined
  }
}
interface Piece<T> {
  readonly row: number
  readonly value: T
}
/** Rows of pieces, 0 where none lies; pieces that overlap add up. */
const assembled = <T extends Handle>(tf: Ops<T>, pieces: ReadonlyArray<Piece<T>>, rows: number, width: number): T => {
  let rest = [...pieces].sort((a, b) => a.row - b.row)
  let sum: T | undefined
  do {
    const parts: Array<T> = []
    const later: Array<Piece<T>> = []
    let end = 0
    for (const piece of rest) {
      if (piece.row < end) {
        later.push(piece)
        continue
      }
      if (piece.row > end) parts.push(tf.fill([piece.row - end, width], 0, "float32"))
      parts.push(piece.value)
      end = piece.row + piece.value.shape[0]!
    }
    if (end < rows) parts.push(tf.fill([rows - end, width], 0, "float32"))
    const layer = parts.length === 1 ? parts[0]! : tf.concat(parts, 0)
    sum = sum === undefined ? layer : tf.add(sum, layer)
    rest = later
  } while (rest.length > 0)
  return sum
}

const attention: Body = <T extends Handle>(call: Call<T>) => {
  const { tf } = call
  const s = sizesOf(call)
  const heads = s.kvHeads * s.group
  const [tokens, keys] = [rowsOf(call, 2), rowsOf(call, 3)]
  const blocks = blocksOf(call, 5, tokens, keys)
  const partOf = (block: Block) => () => {
    const { row, rows, keyRow } = block
    const of = (x: T) => byHead(tf, x, keyRow, block.keys, 1, s)
    const { scores } = scoresOf(call, byHead(tf, call.at(2), row, rows, s.group, s), of(call.at(3)), block, s)
    const top = tf.max(scores, 3, true)
    const exponentials = tf.exp(tf.sub(scores, top))
    const sum = tf.sum(exponentials, 3, true)
    const weights = tf.reshape(tf.div(exponentials, sum), [s.kvHeads, s.group * rows, block.keys])
    return [
      byRow(tf, product(tf, weights, of(call.at(4)), false, false), rows, s.group, s),
      tf.transpose(tf.reshape(tf.add(tf.log(sum), top), [heads, rows]), [1, 0])
    ]
  }
  return {
    parts: blocks.map(partOf),
    join: (made: ReadonlyArray<ReadonlyArray<T>>) =>
      [heads * s.headDim, heads].map((width, i) =>
        assembled(
          tf,
          blocks.map(({ row }, b) => ({ row, value: made[b]![i]! })),
          tokens,
          width
        )
      )
  }
}

/** P = exp(scores − lse), D = Σ P · dP:  dv = Pᵀ dout,  dS = P (dout vᵀ − D) · scale · slope,  dq = dS k,  dk = dSᵀ q. */
const attentionBackward: Body = <T extends Handle>(call: Call<T>) => {
  const { tf } = call
  const s = sizesOf(call)
  const heads = s.kvHeads * s.group
  const [tokens, keys] = [rowsOf(call, 6), rowsOf(call, 7)]
  const blocks = blocksOf(call, 9, tokens, keys)
  const partOf = (block: Block) => () => {
    const { row, rows, keyRow } = block
    const queries = byHead(tf, call.at(6), row, rows, s.group, s)
    const [k, v] = [7, 8].map((i) => byHead(tf, call.at(i), keyRow, block.keys, 1, s)) as [T, T] // map keeps the length
    const d = byHead(tf, call.at(3), row, rows, s.group, s)
    const logs = tf.reshape(tf.transpose(rowsFrom(tf, call.at(5), row, rows), [1, 0]), [s.kvHeads, s.group, rows, 1])
    const flat = [s.kvHeads, s.group * rows, block.keys]
    const { scores, slope } = scoresOf(call, queries, k, block, s)
    const p = tf.reshape(tf.exp(tf.sub(scores, logs)), flat)
    const weighted = tf.mul(p, product(tf, d, v, false, true))
    const plain = tf.mul(tf.sub(weighted, tf.mul(p, tf.sum(weighted, 2, true))), scalar(tf, s.scale))
    const ds = slope === undefined ? plain : tf.mul(plain, slope())
    return [
      byRow(tf, product(tf, ds, k, false, false), rows, s.group, s),
      byRow(tf, product(tf, ds, queries, true, false), block.keys, 1, s),
      byRow(tf, product(tf, p, d, true, false), block.keys, 1, s)
    ]
  }
  return {
    parts: blocks.map(partOf),
    join: (made: ReadonlyArray<ReadonlyArray<T>>) =>
      [0, 1, 2].map((i) => {
        const pieces = blocks.map(({ row, keyRow }, b) => ({ row: i === 0 ? row : keyRow, value: made[b]![i]! }))
        return i === 0
          ? assembled(tf, pieces, tokens, heads * s.headDim)
          : assembled(tf, pieces, keys, s.kvHeads * s.headDim)
      })
  }
}

export const attentionBodies: Readonly<Record<string, Body>> = { attention, attentionBackward }
