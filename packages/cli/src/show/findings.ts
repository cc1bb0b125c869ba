/** What data and model look like before a run. */
import type { OpenedModel } from "@graft/llama-loader"
import type { DataReport } from "@graft/sft"
import { inFlags } from "../inFlags.ts"
import { whole } from "./quantities.ts"
import type { Screen } from "./Screen.ts"

export const showModel = (screen: Screen, model: OpenedModel): void => {
  screen.say(`${screen.style.strong("model")}  ${model.description}`)
  for (const note of model.notes) screen.say(`  ${screen.style.warning("note")}: ${note}`)
  screen.event({ event: "Model", description: model.description, fingerprint: model.fingerprint, notes: model.notes })
}

export const showFindings = (screen: Screen, { findings }: DataReport): void => {
  const { bad, warning, faint } = screen.style
  const styles = { error: bad, warning, note: faint }
  for (const { severity, message } of findings) screen.say(`  ${styles[severity](severity)}: ${inFlags(message)}`)
}

export const showData = (screen: Screen, report: DataReport): void => {
  const { rows, trainSequences, evaluationSequences, tokens, supervisedTokens, longestTokens } = report
  const heldOut = evaluationSequences > 0 ? `, ${whole(evaluationSequences)} held out` : ""
  screen.say(
    `${screen.style.strong("data")}   ${whole(rows)} rows, ${whole(trainSequences)} to train on${heldOut}; ${whole(tokens)} tokens, ` +
      `${whole(supervisedTokens)} of them learnt; the longest has ${whole(longestTokens)}`
  )
  showFindings(screen, report)
  screen.event({ event: "Data", ...report })
}
