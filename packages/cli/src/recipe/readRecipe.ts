/** A recipe's file, YAML, JSON or a module, as a plain value that nobody has looked at yet. */
import { readFileSync, statSync } from "node:fs"
import { extname, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { parseDocument } from "yaml"
import { InvalidInput } from "../problems.ts"

/** A recipe of a megabyte is somebody's data. */
const LONGEST = 1 << 20
const texts = [".yaml", ".yml", ".json"]
const modules = [".ts", ".mts", ".js", ".mjs"]

export const isRecipePath = (word: string): boolean => [...texts, ...modules].includes(extname(word))

/** @throws InvalidInput */
export const readRecipe = async (path: string): Promise<unknown> => {
  const fail = (problem: string) => new InvalidInput({ message: `${path}: ${problem}` })
  if (!isRecipePath(path)) throw fail(`is no recipe; one ends in ${[...texts, ...modules].join(", ")}`)
  try {
    if (statSync(path).size > LONGEST) throw fail(`has more than ${LONGEST} bytes, which no recipe has`)
    if (modules.includes(extname(path))) return await importRecipe(path)
    const document = parseDocument(readFileSync(path, "utf8"), { prettyErrors: true })
    const [problem] = [...document.errors, ...document.warnings]
    if (problem !== undefined) throw fail(problem.message.trim())
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    if (error instanceof InvalidInput) throw error
    throw fail(error instanceof Error ? error.message : String(error))
  }
}

const importRecipe = async (path: string): Promise<unknown> => {
  const module: unknown = await import(pathToFileURL(resolve(path)).href)
  if (typeof module === "object" && module !== null && "default" in module) return module.default
  throw new InvalidInput({ message: `${path}: has no default export; write \`export default { model: …, data: … }\`` })
}
