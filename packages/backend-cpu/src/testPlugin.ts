/** Compiles a plug-in of native/test for tests, with the compiler that builds the library. */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { findCompiler } from "../scripts/findCompiler.ts"

const native = fileURLToPath(new URL("../native", import.meta.url))
const built = fileURLToPath(new URL("../.cache/test", import.meta.url))

/**
 * Path of the shared library made of `native/test/<file>`; `defines` are macros. The same file for the same sources:
 * several test files of one process load it, and only the first load registers anything.
 */
export const compilePlugin = (file: string, ...defines: ReadonlyArray<string>): string => {
  const source = join(native, "test", file)
  const headers = ["kernel.h", "plugin.h"].map((name) => join(native, "include/graft", name))
  const hash = createHash("sha256").update(defines.join(" "))
  for (const path of [source, ...headers]) hash.update(readFileSync(path))
  const output = join(built, `${file}.${hash.digest("hex").slice(0, 16)}.so`)
  if (existsSync(output)) return output
  mkdirSync(built, { recursive: true })
  const [program = "", ...leading] = findCompiler().command
  const language = file.endsWith(".c") ? ["-x", "c"] : ["-std=c++20"]
  const partial = `${output}.${process.pid}.partial`
  const run = spawnSync(
    program,
    [
      ...leading,
      ...language,
      "-O2",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-fPIC",
      "-shared",
      "-fvisibility=hidden",
      ...defines.map((name) => `-D${name}`),
      `-I${join(native, "include")}`,
      source,
      "-o",
      partial
    ],
    { encoding: "utf8" }
  )
  if (run.status !== 0) throw new Error(`${file} does not compile:\n${run.stderr}`)
  renameSync(partial, output)
  return output
}
