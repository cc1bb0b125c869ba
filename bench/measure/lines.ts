/** Figures of a bench as they come: printed one a line, kept as results, and a table of docs/benchmarks.md at the end. */
import { type FigureRow, figureOf, shareOf } from "./figure.ts"
import { writeReport } from "./report.ts"
import { writeResults } from "./results.ts"

export const figureLines = (name: string) => {
  const rows: Array<FigureRow> = []
  return {
    add: (row: FigureRow): void => {
      rows.push(row)
      const beside = [shareOf(row), row.note ?? ""].filter((text) => text !== "").join(", ")
      console.log(
        `${String(row.threads).padStart(7)}  ${row.what.padEnd(46)}  ${figureOf(row).padStart(14)}  ${beside}`
      )
    },
    write: (): void => {
      writeResults(name, rows)
      writeReport()
    }
  }
}
