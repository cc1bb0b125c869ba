/** The flags about rows as the options of @graft/sft. */
import { existsSync } from "node:fs"
import type { RowInput } from "../flags/dataFlags.ts"

/** `PATH:2` is the source PATH with the weight 2, unless there is a file of that whole name. */
export const sourceOf = (given: string): string | { readonly path: string; readonly weight: number } => {
  const [, path, weight] = /^(.+):(\d+(?:\.\d+)?|\.\d+)$/.exec(given) ?? []
  return path === undefined || existsSync(given) ? given : { path, weight: Number(weight) }
}

/** Shells hand over a backslash and a letter as they stand. */
const withLineEnds = (text: string): string => text.replaceAll("\\n", "\n").replaceAll("\\t", "\t")

export const rowOptions = (input: RowInput & { readonly data: ReadonlyArray<string> }) => ({
  data: input.data.map(sourceOf),
  ...(input.maxLength === undefined ? {} : { maxLength: input.maxLength }),
  lossOn: input.lossOn,
  ...(input.responsePart === undefined ? {} : { responsePart: withLineEnds(input.responsePart) }),
  ...(input.questionPart === undefined ? {} : { questionPart: withLineEnds(input.questionPart) }),
  columns: input.column ?? {}
})
