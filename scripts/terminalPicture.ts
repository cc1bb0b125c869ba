/**
 * `bun scripts/terminalPicture.ts IN OUT.svg TITLE`: what a terminal shows of recorded output (as of `script -qec COMMAND IN`), as a
 * picture for the documentation. Knows carriage returns, "clear to the end of the line", and the colours that Graft uses.
 */
import { readFileSync, writeFileSync } from "node:fs"

const COLUMNS = 118
const WIDTH = 8.4
const HEIGHT = 18
const paint: Readonly<Record<string, string>> = {
  1: "font-weight:600",
  2: "opacity:.6",
  31: "fill:#ff7b72",
  32: "fill:#7ee787",
  33: "fill:#e3b341",
  36: "fill:#79c0ff"
}

const escapeXml = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)

/** The lines as they stand at the end: what was drawn over is gone, long ones go on below. */
const linesOf = (recorded: string): ReadonlyArray<string> =>
  recorded
    .replace(/^Script (started|done).*$/gm, "")
    .split("\n")
    .map((line) => line.replace(/\r+$/, "").split("\r").at(-1) ?? "")
    .map((line) => line.replaceAll("\x1b[K", ""))
    .flatMap(wrapped)

/** An escape that paints, or one character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's escapes are what is parsed
const parts = /\x1b\[([\d;]*)m|([^\x1b])/gu

const wrapped = (line: string): ReadonlyArray<string> => {
  let row = ""
  let column = 0
  const rows: Array<string> = []
  for (const [part, , character] of line.matchAll(parts)) {
    if (character !== undefined && column++ === COLUMNS) {
      rows.push(row)
      row = ""
      column = 1
    }
    row += part
  }
  return [...rows, row]
}

const textAt = (line: string, y: number): string => {
  let style = ""
  let run = ""
  let spans = ""
  const end = (): void => {
    if (run !== "") spans += `<tspan style="${style}">${escapeXml(run)}</tspan>`
    run = ""
  }
  for (const [, codes, character] of line.matchAll(parts)) {
    if (codes === undefined) run += character
    else {
      end()
      style = codes
        .split(";")
        .map((code) => paint[code] ?? "")
        .join(";")
    }
  }
  end()
  return `<text x="16" y="${y}" xml:space="preserve">${spans}</text>`
}

const [from = "", to = "", title = "a terminal"] = process.argv.slice(2)
const lines = linesOf(readFileSync(from, "utf8").trim())
const [width, height] = [Math.ceil(COLUMNS * WIDTH + 32), lines.length * HEIGHT + 32]
writeFileSync(
  to,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<title>${escapeXml(title)}</title>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" fill="#c9d1d9">
${lines.map((line, i) => textAt(line, 28 + i * HEIGHT)).join("\n")}
</g>
</svg>
`
)
