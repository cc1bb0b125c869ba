/** The kernels of a weight codec, from one function that fills a row of W. Slow and obvious; natively GEMM packs panels. */
import type { Kernel, Queue, View } from "../Queue.ts"
import type { Tensor } from "../Tensor.ts"
import type { Weight, Window } from "../Weight.ts"

/** Fills `panel` [in] with row `row` of W, from the storage operands as views. */
export type FillRow = (panel: Float32Array, storage: ReadonlyArray<View>, row: number, inFeatures: number) => void

export interface WeightShape {
  readonly out: number
  readonly in: number
}
export interface WeightSpan extends WeightShape {
  readonly accumulate: boolean
  readonly xRow: number
  readonly yRow: number
  readonly rows: number
}
const SPAN = ["out", "in", "accumulate", "xRow", "yRow", "rows"] as const
/** The tail's h [rows, rank] from row hRow on or, transposed, rows [hRow, hRow + rank) of [.., rows]. */
export interface TailedSpan extends WeightSpan {
  readonly rank: number
  readonly hRow: number
  readonly hTransposed: boolean
  readonly scale: number
}

/** `product`, y (+)= x Wᵀ or x W, with + scale · h · factor in the same sum: factor Bᵀ of B [out, rank], or A [rank, in]. */
const withTail = (product: Kernel<WeightSpan>, transposed: boolean): Kernel<TailedSpan> => ({
  ...product,
  name: `${product.name}WithTail`,
  fields: [...SPAN, "rank", "hRow", "hTransposed", "scale"],
  dtypes: ["act", "act", "act", "act"],
  check: ([y, x, h, factor, ...w], p) => {
    const { rank, hRow, hTransposed, rows } = p
    const [high, wide] = transposed ? [rank, p.in] : [p.out, rank]
    const fits =
      h!.columns === (hTransposed ? rows : rank) &&
      h!.rows >= hRow + (hTransposed ? rank : rows) &&
      factor!.rows === high &&
      factor!.columns === wide
    return (
      product.check?.([y!, x!, ...w], p) ||
      (!fits &&
        `a tail of rank ${rank} takes ${hTransposed ? `hᵀ [.., ${rows}]` : `h [.., ${rank}]`} with ${hTransposed ? rank : rows} rows from ${hRow} and a factor [${high}, ${wide}]`)
    )
  },
  reference: ([y, x, h, factor, ...w], p, panel) => {
    product.reference([y!, x!, ...w], p, panel)
    const { rank, rows, hRow } = p
    const width = transposed ? p.in : p.out
    for (let t = 0; t < rows; t++) {
      for (let c = 0; c < width; c++) {
        let sum = 0
        for (let r = 0; r < rank; r++) {
          const part = factor![transposed ? r * width + c : c * rank + r]!
          sum += h![p.hTransposed ? (hRow + r) * rows + t : (hRow + t) * rank + r]! * part
        }
        y![(p.yRow + t) * width + c]! += p.scale * sum
      }
    }
  }
})

/** Made once for a codec, since a plan and a flight record name them, and a native backend finds its panel source by `codec`. */
export const weightKernels = (codec: string, fill: FillRow) => {
  const panelBytes = (_: unknown, p: WeightShape) => 4 * p.in
  const fits =
    (wide: (p: WeightSpan) => readonly [number, number]) =>
    ([a, b]: ReadonlyArray<Tensor>, p: WeightSpan) => {
      const [first, second] = wide(p)
      return (
        (a!.columns !== first || b!.columns !== second || p.yRow + p.rows > a!.rows || p.xRow + p.rows > b!.rows) &&
        `[${a!.shape}] and [${b!.shape}] do not fit W [${p.out}, ${p.in}] with ${p.rows} rows from ${p.xRow} to ${p.yRow}`
      )
    }
  const apply: Kernel<WeightSpan> = {
    name: `${codec}.apply`,
    outputs: 1,
    fields: SPAN,
    dtypes: ["act", "act"],
    workspaceBytes: panelBytes,
    check: fits((p) => [p.out, p.in]),
    reference: ([y, x, ...w], p, panel) => {
      for (let o = 0; o < p.out; o++) {
        fill(panel, w, o, p.in)
        for (let t = 0; t < p.rows; t++) {
          let sum = 0
          for (let i = 0; i < p.in; i++) sum += x![(p.xRow + t) * p.in + i]! * panel[i]!
          const at = (p.yRow + t) * p.out + o
          y![at] = sum + (p.accumulate ? y![at]! : 0)
        }
      }
    }
  }
  const applyTransposed: Kernel<WeightSpan> = {
    name: `${codec}.applyTransposed`,
    outputs: 1,
    fields: SPAN,
    dtypes: ["act", "act"],
    workspaceBytes: panelBytes,
    check: fits((p) => [p.in, p.out]),
    reference: ([dx, dy, ...w], p, panel) => {
      if (!p.accumulate) dx!.fill(0, p.yRow * p.in, (p.yRow + p.rows) * p.in)
      for (let o = 0; o < p.out; o++) {
        fill(panel, w, o, p.in)
        for (let t = 0; t < p.rows; t++) {
          const d = dy![(p.xRow + t) * p.out + o]!
          for (let i = 0; i < p.in; i++) dx![(p.yRow + t) * p.in + i]! += d * panel[i]!
        }
      }
    }
  }
  const dequantizeRows: Kernel<WeightShape & { readonly firstRow: number }> = {
    name: `${codec}.dequantizeRows`,
    outputs: 1,
    fields: ["out", "in", "firstRow"],
    dtypes: ["act"],
    workspaceBytes: panelBytes,
    check: ([out], p) =>
      (out!.columns !== p.in || p.firstRow + out!.rows > p.out) &&
      `${out!.rows} rows from ${p.firstRow} of W [${p.out}, ${p.in}]`,
    reference: ([out, ...w], p, panel) => {
      for (let r = 0; r * p.in < out!.length; r++) {
        fill(panel, w, p.firstRow + r, p.in)
        out!.set(panel.subarray(0, p.in), r * p.in)
      }
    }
  }
  const gatherRows: Kernel<WeightShape> = {
    name: `${codec}.gatherRows`,
    outputs: 1,
    fields: ["out", "in"],
    dtypes: ["act", "i32"],
    workspaceBytes: panelBytes,
    check: ([out, ids], p) => (out!.columns !== p.in || out!.rows !== ids!.size) && `rows of W [${p.out}, ${p.in}]`,
    reference: ([out, ids, ...w], p, panel) => {
      for (let r = 0; r < ids!.length; r++) {
        fill(panel, w, ids![r]!, p.in)
        out!.set(panel.subarray(0, p.in), r * p.in)
      }
    }
  }
  const rowNormsSquared: Kernel<WeightShape> = {
    name: `${codec}.rowNormsSquared`,
    outputs: 1,
    fields: ["out", "in"],
    dtypes: ["f32"],
    workspaceBytes: panelBytes,
    reference: ([out, ...w], p, panel) => {
      for (let o = 0; o < p.out; o++) {
        fill(panel, w, o, p.in)
        let sum = 0
        for (let i = 0; i < p.in; i++) sum += panel[i]! ** 2
        out![o] = sum
      }
    }
  }
  return {
    apply,
    applyTransposed,
    applyWithTail: withTail(apply, false),
    applyTransposedWithTail: withTail(applyTransposed, true),
    dequantizeRows,
    gatherRows,
    rowNormsSquared
  }
}
export type WeightKernels = ReturnType<typeof weightKernels>

/** Enqueues y (+)= x Wᵀ or, `transposed`, y (+)= x W, over a window of rows, with a tail or without. */
export const enqueueProduct = (
  queue: Queue,
  kernels: WeightKernels,
  { outFeatures, inFeatures, storage }: Weight,
  transposed: boolean,
  [y, x]: readonly [Tensor, Tensor],
  { accumulate = false, xRow = 0, yRow = 0, rows = x.rows, tail }: Window
): void => {
  const span = { out: outFeatures, in: inFeatures, accumulate, xRow, yRow, rows }
  if (tail === undefined) {
    queue.enqueue(transposed ? kernels.applyTransposed : kernels.apply, [y, x, ...storage], span)
    return
  }
  const { h, hRow = 0, transposed: hTransposed = false, factor, scale = 1 } = tail
  const params = { ...span, rank: transposed ? factor.rows : factor.columns, hRow, hTransposed, scale }
  const kernel = transposed ? kernels.applyTransposedWithTail : kernels.applyWithTail
  queue.enqueue(kernel, [y, x, h, factor, ...storage], params)
}
