/** A report of 4 bits as tables: weights in rows, formats side by side; then the model's perplexity. */
import type { FormatReport, ModelLoss } from "../stack/quantizationReport.ts"
import { table } from "./table.ts"

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

/** ‖W − Ŵ‖ / ‖W‖ of all weights together would need their norms; the mean by parameters is what is shown. */
const meanOf = ({ weights }: FormatReport, of: (weight: FormatReport["weights"][number]) => number): number => {
  const all = weights.reduce((n, { parameters }) => n + parameters, 0)
  return weights.reduce((sum, weight) => sum + of(weight) * weight.parameters, 0) / all
}

export const summaryOf = (report: FormatReport) => ({
  format: report.format,
  relativeError: meanOf(report, (w) => w.relativeError),
  worstBlock: report.weights.reduce((worst, w) => Math.max(worst, w.worstBlock.relativeError), 0),
  bitsPerParameter: meanOf(report, (w) => w.bitsPerParameter)
})

export const weightTable = (reports: ReadonlyArray<FormatReport>): string => {
  const [first] = reports
  const head = ["weight", ...reports.flatMap(({ format }) => [format, "worst block", "bits"])]
  const lines = (first?.weights ?? []).map(({ path }, i) => [
    path,
    ...reports.flatMap(({ weights }) => {
      const { relativeError, worstBlock, bitsPerParameter } = weights[i]!
      const { row, column, relativeError: worst } = worstBlock
      return [percent(relativeError), `${percent(worst)} [${row}, ${column}]`, bitsPerParameter.toFixed(3)]
    })
  ])
  const all = reports
    .map(summaryOf)
    .flatMap(({ relativeError, worstBlock, bitsPerParameter }) => [
      percent(relativeError),
      percent(worstBlock),
      bitsPerParameter.toFixed(3)
    ])
  return table([head, ...lines, ["all", ...all]])
}

export const lossTable = (losses: ReadonlyArray<ModelLoss>): string => {
  const base = losses[0]!
  return table([
    ["model", "loss", "perplexity", "rise"],
    ...losses.map(({ format, loss, perplexity }) => [
      format,
      loss.toFixed(4),
      perplexity.toFixed(3),
      format === base.format ? "" : percent(perplexity / base.perplexity - 1)
    ])
  ])
}
