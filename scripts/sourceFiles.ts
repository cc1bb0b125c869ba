/** The TypeScript files of a package's src/, sorted, as paths from the package's folder. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"

export const sourceFiles = (packagePath: string): ReadonlyArray<string> => {
  const src = join(packagePath, "src")
  if (!existsSync(src)) return []
  return readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join("src", file))
    .sort()
}

/** A test, or what several of them share: trainerUnderTest.ts. */
export const isTest = (file: string): boolean => file.endsWith(".test.ts") || file.endsWith("UnderTest.ts")
