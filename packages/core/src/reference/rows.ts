import type { Kernel } from "../Queue.ts"

export const fill: Kernel<{ readonly value: number }> = {
  name: "fill",
  outputs: 1,
  fields: ["value"],
  dtypes: ["plain"],
  reference: ([out], { value }) => {
    out!.fill(value)
  }
}

export interface AddScaled {
  readonly width: number
  readonly rows: number
  readonly outRow: number
  readonly xRow: number
  readonly scale: number
  readonly accumulate: boolean
}
/** out[outRow …] (+)= scale · x[xRow …], `rows` rows of `width`; between dtypes too. */
export const addScaled: Kernel<AddScaled> = {
  name: "addScaled",
  outputs: 1,
  fields: ["width", "rows", "outRow", "xRow", "scale", "accumulate"],
  dtypes: ["act", "act"],
  check: ([out, x], p) =>
    (out!.columns !== p.width ||
      x!.columns !== p.width ||
      p.outRow + p.rows > out!.rows ||
      p.xRow + p.rows > x!.rows) &&
    `${p.rows} rows of ${p.width} from ${p.xRow} to ${p.outRow} do not fit`,
  reference: ([out, x], p) => {
    const to = p.outRow * p.width
    const from = p.xRow * p.width
    for (let i = 0; i < p.rows * p.width; i++)
      out![to + i] = p.scale * x![from + i]! + (p.accumulate ? out![to + i]! : 0)
  }
}

/** out = a + scale · b; out may be a. */
export const add: Kernel<{ readonly scale: number }> = {
  name: "add",
  outputs: 1,
  fields: ["scale"],
  dtypes: ["act", "act", "act"],
  check: ([out, a, b]) => (out!.size !== a!.size || out!.size !== b!.size) && "sizes differ",
  reference: ([out, a, b], { scale }) => {
    for (let i = 0; i < out!.length; i++) out![i] = a![i]! + scale * b![i]!
  }
}

/** out [rows, n] (+)= x · s [rows], row by row. */
export const scaleRows: Kernel<{ readonly accumulate: boolean }> = {
  name: "scaleRows",
  outputs: 1,
  fields: ["accumulate"],
  dtypes: ["act", "act", "f32"],
  check: ([out, x, s]) => (out!.size !== x!.size || x!.rows !== s!.size) && "sizes differ",
  reference: ([out, x, s], { accumulate }) => {
    const n = x!.length / s!.length
    for (let i = 0; i < x!.length; i++) out![i] = x![i]! * s![Math.floor(i / n)]! + (accumulate ? out![i]! : 0)
  }
}

interface Scaled {
  readonly scale: number
  readonly accumulate: boolean
}
/** out [1] (+)= scale · Σ x */
export const sumKernel: Kernel<Scaled> = {
  name: "sum",
  outputs: 1,
  fields: ["scale", "accumulate"],
  dtypes: ["f32", "act"],
  reference: ([out, x], { scale, accumulate }) => {
    let sum = 0
    for (let i = 0; i < x!.length; i++) sum += x![i]!
    out![0] = sum * scale + (accumulate ? out![0]! : 0)
  }
}
/** dx (+)= scale · dy [1] */
export const broadcast: Kernel<Scaled> = {
  name: "broadcast",
  outputs: 1,
  fields: ["scale", "accumulate"],
  dtypes: ["act", "f32"],
  reference: ([dx, dy], { scale, accumulate }) => {
    for (let i = 0; i < dx!.length; i++) dx![i] = dy![0]! * scale + (accumulate ? dx![i]! : 0)
  }
}

/** y (+)= x · m / norm, column by column (DoRA, arXiv:2402.09353 §4.3). */
export const scaleColumnsKernel: Kernel<{ readonly accumulate: boolean }> = {
  name: "scaleColumns",
  outputs: 1,
  fields: ["accumulate"],
  dtypes: ["act", "act", "f32", "f32"],
  check: ([, x, m, norm]) => (x!.columns !== m!.size || norm!.size !== m!.size) && "widths differ",
  reference: ([y, x, m, norm], { accumulate }) => {
    const n = m!.length
    for (let i = 0; i < y!.length; i++) y![i] = (x![i]! * m![i % n]!) / norm![i % n]! + (accumulate ? y![i]! : 0)
  }
}
/** dm [n] (+)= Σ_t dy · x / norm */
export const scaleColumnsBackwardM: Kernel<{ readonly accumulate: boolean }> = {
  name: "scaleColumnsBackwardM",
  outputs: 1,
  fields: ["accumulate"],
  dtypes: ["f32", "act", "act", "f32"],
  reference: ([dm, dy, x, norm], { accumulate }) => {
    const n = dm!.length
    for (let o = 0; o < n; o++) {
      let sum = 0
      for (let i = o; i < dy!.length; i += n) sum += dy![i]! * x![i]!
      dm![o] = sum / norm![o]! + (accumulate ? dm![o]! : 0)
    }
  }
}
