/** `bun run loc`: lines of code a package, and core's budget. */
import { join, sep } from "node:path"
import { linesOfCode } from "./linesOfCode.ts"
import { isTest, sourceFiles } from "./sourceFiles.ts"
import { workspacePackages } from "./workspacePackages.ts"

/** core without its reference kernels, which are there to be read beside a formula and so may be long. */
export const coreBudget = 2000

export const isReference = (file: string): boolean => file.startsWith(join("src", "reference") + sep)

export const countPackage = (path: string) => {
  const count = { code: 0, reference: 0, tests: 0 }
  for (const file of sourceFiles(path)) {
    count[isTest(file) ? "tests" : isReference(file) ? "reference" : "code"] += linesOfCode(join(path, file))
  }
  return count
}

if (import.meta.main) {
  console.log("package          code  reference  tests")
  for (const { folder, path } of workspacePackages()) {
    const { code, reference, tests } = countPackage(path)
    const limit = folder === "core" ? `   (limit ${coreBudget})` : ""
    console.log(
      `${folder.padEnd(14)} ${String(code).padStart(6)} ${String(reference).padStart(10)} ${String(tests).padStart(6)}${limit}`
    )
  }
}
