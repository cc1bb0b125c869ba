import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import type { DataModel } from "./DataModel.ts"
import { fakeTokenizer } from "./fakeTokenizer.ts"
import { type PreparedData, prepareData } from "./prepareData.ts"
import { namedTemplate } from "./templates.ts"

export const folder = mkdtempSync(join(tmpdir(), "graft-sft-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true })) // several test files share it

export const write = (name: string, ...rows: ReadonlyArray<unknown>): string => {
  const path = join(folder, name)
  writeFileSync(path, rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""))
  return path
}
export const tokenizer = fakeTokenizer()
export const model: DataModel = {
  tokenizer,
  chatTemplate: namedTemplate("chatml"),
  vocabularySize: 5000,
  positions: 256,
  stopIds: [1, 3]
}
export const bare: DataModel = { vocabularySize: 512, positions: 256 }
export const run = <A>(options: unknown, use: (data: PreparedData) => A, of: DataModel = model): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.map(prepareData(options, of), use)))
export const failure = (options: unknown, of: DataModel = model) =>
  Effect.runPromise(Effect.scoped(Effect.flip(prepareData(options, of))))
export const textOf = (ids: ArrayLike<number>) => tokenizer.texts(Array.from(ids)).join("")
