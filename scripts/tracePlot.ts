/**
 * `bun scripts/tracePlot.ts IN.csv OUT.svg TITLE`: memory (left) and bytes read from disk (right) over time, of a trace that
 * `scripts/traceProcess.ts` recorded.
 */
import { readFileSync, writeFileSync } from "node:fs"

const [WIDTH, HEIGHT] = [760, 340]
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 696, 48, 292]
const MEMORY = "#0969da"
const READ = "#bc4c00"

const [from = "", to = "", title = "a run"] = process.argv.slice(2)
const rows = readFileSync(from, "utf8")
  .trim()
  .split("\n")
  .slice(1)
  .map((line) => {
    const [seconds = 0, resident = 0, peak = 0, read = 0] = line.split(",").map(Number)
    return { seconds, resident, peak, read }
  })
const most = (pick: (row: (typeof rows)[number]) => number): number =>
  rows.reduce((m, row) => Math.max(m, pick(row)), 0)
/** A scale's end and the step of its marks: 1, 2 or 5 times a power of ten, about five of them. */
const marksOf = (largest: number): { readonly end: number; readonly marks: ReadonlyArray<number> } => {
  const rough = largest / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1)
  const count = Math.ceil(largest / step)
  return { end: count * step, marks: Array.from({ length: count + 1 }, (_, i) => i * step) }
}
const time = marksOf(most(({ seconds }) => seconds))
const memory = marksOf(most(({ peak }) => peak) / 1e9)
const disk = marksOf(most(({ read }) => read) / 1e9)
const x = (seconds: number): number => LEFT + ((RIGHT - LEFT) * seconds) / time.end
const y = (share: number): number => BOTTOM - (BOTTOM - TOP) * share
const point = (seconds: number, share: number): string => `${x(seconds).toFixed(1)},${y(share).toFixed(1)}`

/** A trace of hours has more rows than a plot has places. */
const every = Math.ceil(rows.length / 400)
const shown = rows.filter((_, i) => i % every === 0 || i === rows.length - 1)
const line = (colour: string, share: (row: (typeof rows)[number]) => number): string =>
  `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${shown.map((row) => point(row.seconds, share(row))).join(" ")}"/>`
const text = (at: string, content: string, more = ""): string => `<text ${at} ${more}>${content}</text>`
const number = (value: number): string => String(Number(value.toPrecision(6)))

writeFileSync(
  to,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}">
<title>${title.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<g font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="#57606a">
${text(`x="${LEFT}" y="24"`, "resident memory, GB", `fill="${MEMORY}"`)}
${text(`x="${RIGHT}" y="24"`, "read from the disk, GB", `fill="${READ}" text-anchor="end"`)}
${time.marks.map((s) => text(`x="${x(s)}" y="${BOTTOM + 20}"`, number(s), 'text-anchor="middle"')).join("\n")}
${text(`x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 8}"`, "seconds", 'text-anchor="middle"')}
${memory.marks.map((g) => text(`x="${LEFT - 8}" y="${y(g / memory.end) + 4}"`, number(g), 'text-anchor="end"')).join("\n")}
${disk.marks.map((g) => text(`x="${RIGHT + 8}" y="${y(g / disk.end) + 4}"`, number(g))).join("\n")}
</g>
<g stroke="#d0d7de">
${memory.marks.map((g) => `<line x1="${LEFT}" x2="${RIGHT}" y1="${y(g / memory.end)}" y2="${y(g / memory.end)}"/>`).join("\n")}
</g>
${line(READ, ({ read }) => read / 1e9 / disk.end)}
${line(MEMORY, ({ resident }) => resident / 1e9 / memory.end)}
</svg>
`
)
