/** Colours, on a terminal only, and never where NO_COLOR (no-color.org) asks for none. */
export interface Styles {
  readonly bad: (text: string) => string
  readonly warning: (text: string) => string
  readonly good: (text: string) => string
  readonly strong: (text: string) => string
  readonly faint: (text: string) => string
}
const plain = (text: string): string => text
const paint = (code: number) => (text: string) => `\x1b[${code}m${text}\x1b[0m`

export const paints = (stream: { readonly isTTY?: boolean }): boolean => {
  const { NO_COLOR, TERM } = process.env
  return stream.isTTY === true && (NO_COLOR ?? "") === "" && TERM !== "dumb"
}

export const styled = (stream: { readonly isTTY?: boolean }): Styles => {
  return paints(stream)
    ? { bad: paint(31), warning: paint(33), good: paint(32), strong: paint(1), faint: paint(2) }
    : { bad: plain, warning: plain, good: plain, strong: plain, faint: plain }
}
