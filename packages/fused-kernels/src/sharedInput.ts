/**
 * The adapters of several linears of one input. Those that see the same rows of x, without dropout, are one narrow product:
 * with A = [A₁; A₂; …] stacked, R = Σ rank, and h stored transposed so that an adapter's part is rows of it,
 *
 *   hᵀ [R, rows] = A xᵀ            y_i = x W_iᵀ + s · h_i B_iᵀ
 *   dB_i = s · dy_iᵀ h_i           dhᵀ_i = s · B_iᵀ dy_iᵀ          dA = dhᵀ x          dx = Σ dy_i W_i + dh A
 *
 * so that x is read once where it was read for each, forwards and for dA. Where adapters see all rows of x, s · h B_iᵀ and dh A
 * are tails of the products with W (core's Weight.ts): y and dx are written once, not read and written again. An adapter with dropout
 * has a mask of its own (PEFT's semantics: one dropout a module), and so a product of its own.
 *
 * In bf16 A xᵀ and Bᵀ dyᵀ take A and B rounded to it: bf16 instructions want both sides in it, and the left one of a product in
 * f32 would have it multiplied in f32, at half the rate.
 */
import {
  type AdaptedWeight,
  type AdapterSegment,
  addInto,
  type Destination,
  type DType,
  dropoutInto,
  fill,
  type Graph,
  gemm,
  type Into,
  plainGemm,
  type Tensor,
  type Weight
} from "@graft/core"

/** An adapter of linear `linear`, whose h are rows [row, row + rank) of its group's. */
interface Member {
  readonly linear: number
  readonly segment: AdapterSegment
  readonly row: number
}
/** Adapters that see the same rows of the same input. */
export interface Group {
  readonly start: number
  readonly rows: number
  readonly rank: number
  readonly members: ReadonlyArray<Member>
}
export const groupsOf = (linears: ReadonlyArray<AdaptedWeight>): ReadonlyArray<Group> => {
  const groups: Array<Group> = []
  for (const [linear, { segments }] of linears.entries()) {
    for (const segment of segments) {
      const { start, rows, a, dropout } = segment
      const same = ({ members: [first], ...of }: Group) =>
        dropout === undefined && first?.segment.dropout === undefined && of.start === start && of.rows === rows
      const at = groups.findIndex(same)
      const known = groups[at] ?? { start, rows, rank: 0, members: [] }
      const members = [...known.members, { linear, segment, row: known.rank }]
      groups[at < 0 ? groups.length : at] = { start, rows, rank: known.rank + a.rows, members }
    }
  }
  return groups
}

/** The rows of x that a group's adapters see, from `row` on: x itself, or a dropped-out copy to release. */
const inputOf = (g: Graph, x: Tensor, { start, rows, members: [first] }: Group) => {
  const dropout = first?.segment.dropout
  if (dropout === undefined) return { t: x, row: start, release: () => {} }
  const t = g.tensor([rows, x.columns], "dropped")
  dropoutInto(g, t, x, dropout, start, { rows, xRow: start })
  return { t, row: 0, release: () => g.release(t) }
}
interface Factor {
  readonly t: Tensor
  readonly release: () => void
}
/** A [R, in] of a group: the only A, or a copy of all, in f32 as they are; or in `dtype`. */
const stackedA = (g: Graph, { rank, members }: Group, dtype?: DType): Factor => {
  const [first, second] = members
  const only = first!.segment.a
  if (second === undefined && (dtype ?? only.dtype) === only.dtype) return { t: only, release: () => {} }
  const t = g.tensor([rank, only.columns], "A of all", dtype ?? "f32")
  for (const { segment, row } of members) addInto(g, t, segment.a, { outRow: row })
  return { t, release: () => g.release(t) }
}
/** b, or a copy in `dtype`. */
const factorIn = (g: Graph, b: Tensor, dtype: DType): Factor => {
  if (b.dtype === dtype) return { t: b, release: () => {} }
  const t = g.tensor(b.shape, "B", dtype)
  addInto(g, t, b)
  return { t, release: () => g.release(t) }
}

/** Gives hᵀ of each group. */
export const hiddenOf = (g: Graph, x: Tensor, groups: ReadonlyArray<Group>): ReadonlyArray<Tensor> =>
  groups.map((group) => {
    const h = g.tensor([group.rank, group.rows], "A xᵀ")
    const input = inputOf(g, x, group)
    const { t: a, release } = stackedA(g, group, x.dtype)
    const sizes = { m: group.rank, k: x.columns, n: group.rows, tb: true, bRow: input.row }
    g.run(gemm, [h, a, input.t], { ...plainGemm, ...sizes })
    release()
    input.release()
    return h
  })

/** Whether these adapters see every row of x: then their share is a tail of the product with W. */
const seesAll = ({ start, rows }: Group, x: Tensor): boolean => start === 0 && rows === x.rows

/** out = x Wᵀ + s · h Bᵀ of linear `linear`: one adapter of all rows is a tail of the product, others are added to it. */
export const applyAdapted = (
  g: Graph,
  out: Tensor,
  x: Tensor,
  weight: Weight,
  linear: number,
  groups: ReadonlyArray<Group>,
  hidden: ReadonlyArray<Tensor>
): void => {
  const parts = groups.flatMap((group, i) =>
    group.members.filter((of) => of.linear === linear).map((of) => ({ ...of, group, h: hidden[i]! }))
  )
  const whole = parts.find(({ group }) => seesAll(group, x))
  const tail = whole && {
    h: whole.h,
    hRow: whole.row,
    transposed: true,
    factor: whole.segment.b,
    scale: whole.segment.scale
  }
  weight.apply(out, x, { tail })
  for (const part of parts) {
    if (part === whole) continue
    const { b, scale, start, rows } = part.segment
    const sizes = { m: rows, k: b.columns, n: b.rows, ta: true, tb: true, scale, accumulate: true }
    g.run(gemm, [out, part.h, b], { ...plainGemm, ...sizes, aRow: part.row, outRow: start })
  }
}

/** Writes the gradients of all A and B and gives dhᵀ of each group. `dys`: those that somebody made. */
export const adapterGradients = (
  g: Graph,
  dys: ReadonlyArray<Tensor | undefined>,
  x: Tensor,
  groups: ReadonlyArray<Group>,
  hidden: ReadonlyArray<Tensor>,
  into: Into
): ReadonlyArray<Tensor> =>
  groups.map((group, i) => {
    const dh = g.tensor([group.rank, group.rows], "d(A xᵀ)")
    if (group.members.some(({ linear }) => dys[linear] === undefined)) g.run(fill, [dh], { value: 0 })
    for (const member of group.members) {
      const dy = dys[member.linear]
      if (dy === undefined) continue
      gradientOfHidden(g, dh, dy, group, member)
      gradientOfB(g, dy, hidden[i]!, group, member, into)
    }
    gradientOfA(g, dh, x, group, into)
    return dh
  })

/** dhᵀ of each group of one linear, for which x need not be there yet. */
export const hiddenGradients = (g: Graph, dy: Tensor, groups: ReadonlyArray<Group>): ReadonlyArray<Tensor> =>
  groups.map((group) => {
    const dh = g.tensor([group.rank, group.rows], "d(A xᵀ)")
    for (const member of group.members) gradientOfHidden(g, dh, dy, group, member)
    return dh
  })
/** Writes the gradients of A and B of one linear. */
export const factorGradients = (
  g: Graph,
  dy: Tensor,
  x: Tensor,
  groups: ReadonlyArray<Group>,
  hidden: ReadonlyArray<Tensor>,
  dhs: ReadonlyArray<Tensor>,
  into: Into
): void => {
  for (const [i, group] of groups.entries()) {
    for (const member of group.members) gradientOfB(g, dy, hidden[i]!, group, member, into)
    gradientOfA(g, dhs[i]!, x, group, into)
  }
}

/** dB = s · dyᵀ h */
const gradientOfB = (g: Graph, dy: Tensor, h: Tensor, { start, rows }: Group, { segment, row }: Member, into: Into) => {
  const { b, scale } = segment
  const db = into(b)
  if (db === undefined) return
  const sizes = { m: b.rows, k: rows, n: b.columns, ta: true, tb: true, scale, accumulate: db.accumulate }
  g.run(gemm, [db.tensor, dy, h], { ...plainGemm, ...sizes, aRow: start, bRow: row })
}
/** A member's rows of dhᵀ = s · Bᵀ dyᵀ */
const gradientOfHidden = (g: Graph, dh: Tensor, dy: Tensor, { start, rows }: Group, { segment, row }: Member) => {
  const { b, scale } = segment
  const sizes = { m: b.columns, k: b.rows, n: rows, ta: true, tb: true, scale, outRow: row, bRow: start }
  const factor = factorIn(g, b, dy.dtype)
  g.run(gemm, [dh, factor.t, dy], { ...plainGemm, ...sizes })
  factor.release()
}

/**
 * dx (+)= Σ dy W + dh A; none where nobody wants it. The share of the adapters that see all rows without dropout is a tail of
 * the last product, others are added.
 */
export const inputGradient = (
  g: Graph,
  dx: Destination | undefined,
  products: ReadonlyArray<readonly [Weight, dy: Tensor]>,
  groups: ReadonlyArray<Group>,
  dhs: ReadonlyArray<Tensor>
): void => {
  if (dx !== undefined) {
    const isTail = (of: Group) => seesAll(of, dx.tensor) && of.members[0]?.segment.dropout === undefined
    const tailed = groups.findIndex(isTail)
    for (const [i, [weight, dy]] of products.entries()) {
      const accumulate = dx.accumulate || i > 0
      const group = i === products.length - 1 ? groups[tailed] : undefined
      const stacked = group && stackedA(g, group)
      const tail = stacked && { h: dhs[tailed]!, transposed: true, factor: stacked.t }
      weight.applyTransposed(dx.tensor, dy, { accumulate, tail })
      stacked?.release()
    }
    for (const [i, group] of groups.entries()) if (i !== tailed) addShare(g, dx.tensor, dhs[i]!, group)
  }
}

/** dA = dhᵀ x, for all at once, then each to its place. */
const gradientOfA = (g: Graph, dh: Tensor, x: Tensor, group: Group, into: Into): void => {
  const { rows, rank, members } = group
  const wanted = members.filter(({ segment: { a } }) => g.needs(a))
  if (wanted.length === 0) return
  const input = inputOf(g, x, group)
  const sizes = { k: rows, n: x.columns, bRow: input.row }
  if (wanted.length === 1) {
    const { segment, row } = wanted[0]!
    const da = into(segment.a)
    if (da !== undefined) {
      const own = { ...sizes, m: segment.a.rows, aRow: row, accumulate: da.accumulate }
      g.run(gemm, [da.tensor, dh, input.t], { ...plainGemm, ...own })
    }
  } else {
    const all = g.tensor([rank, x.columns], "dA of all", "f32")
    g.run(gemm, [all, dh, input.t], { ...plainGemm, ...sizes, m: rank })
    for (const { segment, row } of wanted) {
      const da = into(segment.a)
      if (da !== undefined) addInto(g, da.tensor, all, { rows: segment.a.rows, xRow: row, accumulate: da.accumulate })
    }
    g.release(all)
  }
  input.release()
}

/** dx += dh A, dropped out as the input was. */
const addShare = (g: Graph, dx: Tensor, dh: Tensor, group: Group): void => {
  const { start, rows, rank, members } = group
  const { t: a, release } = stackedA(g, group)
  const sizes = { m: rows, k: rank, n: dx.columns, ta: true }
  const dropout = members[0]?.segment.dropout
  if (dropout === undefined) {
    g.run(gemm, [dx, dh, a], { ...plainGemm, ...sizes, accumulate: true, outRow: start })
  } else {
    const d = g.tensor([rows, dx.columns], "d(dropped)")
    g.run(gemm, [d, dh, a], { ...plainGemm, ...sizes })
    dropoutInto(g, dx, d, dropout, start, { rows, outRow: start, accumulate: true })
    g.release(d)
  }
  release()
}
