/**
 * What `graft … --help` says, as the build has kept it in `help.json` beside this file (scripts/keepHelp.ts): a question for
 * help is answered before Effect is loaded. In the sources nothing is kept, and the command itself answers.
 */
import { existsSync, readFileSync } from "node:fs"

/** By the verbs with spaces between, "" for `graft` itself. */
export type KeptHelp = Readonly<Record<string, { readonly plain: string; readonly coloured: string }>>

/** The text for exactly `graft [verb …] --help`; undefined for anything else. */
export const keptHelp = (args: ReadonlyArray<string>, coloured: boolean): string | undefined => {
  const last = args.at(-1)
  if (last !== "--help" && last !== "-h") return undefined
  const path = new URL("./help.json", import.meta.url)
  if (!existsSync(path)) return undefined
  const kept = JSON.parse(readFileSync(path, "utf8")) as KeptHelp // written by this package's own build
  const verb = args.slice(0, -1).join(" ")
  return Object.hasOwn(kept, verb) ? kept[verb]?.[coloured ? "coloured" : "plain"] : undefined
}
