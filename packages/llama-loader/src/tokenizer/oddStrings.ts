/**
 * The 10,000 odd strings of the tests of ids, as fixtures/odd/make_odd.py draws them, and the hash by which ids of ten strings
 * are compared.
 */
import { readFileSync } from "node:fs"

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../fixtures/odd/${name}`, import.meta.url), "utf8"))
export const parts = read("parts.json") as ReadonlyArray<string> // a fixture of this package, made by the script

/** A linear congruential generator that Python's whole numbers repeat. */
const generator = (): ((bound: number) => number) => {
  let state = 1
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

export const oddStrings = (): ReadonlyArray<string> => {
  const below = generator()
  const repeat = (count: number, make: () => string) => Array.from({ length: count }, make).join("")
  const part = () => parts[below(parts.length)]!
  return Array.from({ length: 10_000 }, () => {
    const kind = below(40)
    if (kind === 0) return part().repeat(1 + below(120))
    if (kind === 1) return repeat(1 + below(300), () => String.fromCharCode(97 + below(26)))
    if (kind === 2) return repeat(1 + below(8), () => String.fromCodePoint(below(0x110000)))
    if (kind === 3) return repeat(1 + below(30), () => String.fromCharCode(0x4e00 + below(0x5200)))
    return repeat(1 + below(16), part)
  })
}

/** FNV-1a over the ids, four bytes each, and ff ff ff ff after each string: one number for ten strings. */
export const hashesOf = (
  encode: (text: string) => ReadonlyArray<number>,
  strings: ReadonlyArray<string>
): Uint32Array =>
  Uint32Array.from({ length: Math.ceil(strings.length / 10) }, (_, group) => {
    let hash = 0x811c9dc5
    const add = (id: number): void => {
      for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((id >>> shift) & 255), 0x01000193)
    }
    for (const text of strings.slice(10 * group, 10 * group + 10)) {
      for (const id of encode(text)) add(id)
      add(0xffffffff)
    }
    return hash
  })
