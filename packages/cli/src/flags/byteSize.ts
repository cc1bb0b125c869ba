/** Sizes of memory: 32MiB, 64KiB, 1.5GiB, 500MB, or a number of bytes. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"

const units: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30
}
export const bytesOfSize = (text: string): number | undefined => {
  const [, digits = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim()) ?? []
  const size = units[unit.toLowerCase()]
  return digits === "" || size === undefined || Number(digits) === 0 ? undefined : Math.floor(Number(digits) * size)
}
export const byteSize = (name: string): Flag.Flag<number> =>
  Flag.filterMap(
    Flag.String(name),
    (text) => Option.fromUndefinedOr(bytesOfSize(text)),
    () => "a size such as 32MiB, 64KiB or 1GiB"
  )
