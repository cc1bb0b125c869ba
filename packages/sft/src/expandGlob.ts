/**
 * The files that a pattern names: `*` stands for any letters of one name, `?` for one, `**` for any folders. Shells expand
 * patterns themselves, but not those in quotes or in a recipe.
 */
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { namePattern } from "./globPattern.ts"

export const isGlob = (path: string): boolean => /[*?]/.test(path)

/** Sorted by name, so that the order of rows does not depend on the disk. */
export const expandGlob = async (pattern: string): Promise<ReadonlyArray<string>> => {
  const parts = pattern.split(/[\\/]/)
  const fixed = parts.findIndex(isGlob)
  const base = parts.slice(0, fixed).join("/")
  const root = base === "" ? (pattern.startsWith("/") ? "/" : ".") : base
  const found = await walk(root, parts.slice(fixed))
  return found.sort()
}

const walk = async (folder: string, [part, ...rest]: ReadonlyArray<string>): Promise<Array<string>> => {
  if (part === undefined) return []
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const found: Array<string> = []
  if (part === "**") found.push(...(await walk(folder, rest)))
  const name = part === "**" ? /^[^.].*$/ : namePattern(part)
  for (const entry of entries) {
    if (!name.test(entry.name) || (entry.name.startsWith(".") && !part.startsWith("."))) continue
    const path = folder === "." ? entry.name : join(folder, entry.name)
    if (part === "**") {
      if (entry.isDirectory()) found.push(...(await walk(path, [part, ...rest])))
    } else if (rest.length > 0) found.push(...(await walk(path, rest)))
    else if (entry.isFile()) found.push(path)
  }
  return found
}
