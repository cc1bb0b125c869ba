/** Sizes, times and rates for people. Bytes in powers of ten, as disks and `OutOfMemory` count them. */

/** `1.23 GB`, `540.1 MB`, `96 B` */
export const bytes = (n: number): string => {
  if (n < 1e3) return `${n} B`
  const [size, unit] = n < 999_950 ? [1e3, "kB"] : n < 999_950_000 ? [1e6, "MB"] : [1e9, "GB"]
  return `${(n / Number(size)).toFixed(unit === "GB" ? 2 : 1)} ${unit}`
}
/** `1.5 G`, `135 M`, `12.3 k`: three digits of a count. */
export const count = (n: number): string => {
  for (const [size, unit] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"]
  ] as const) {
    if (n >= size) return `${Number((n / size).toPrecision(3))} ${unit}`
  }
  return String(Math.round(n))
}
/** `1,234,567` */
export const whole = (n: number): string => Math.round(n).toLocaleString("en-US")

/** `12 s`, `3 min 05 s`, `2 h 07 min` */
export const duration = (seconds: number): string => {
  if (!Number.isFinite(seconds)) return "–"
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const s = Math.round(seconds)
  if (s < 60) return `${s} s`
  const two = (n: number) => String(n).padStart(2, "0")
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`
}
/** Tokens a second. */
export const rate = (perSecond: number): string => (perSecond < 100 ? perSecond.toFixed(1) : whole(perSecond))
