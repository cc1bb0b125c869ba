/** What a user would get: publint and are-the-types-wrong on the tarball, and nothing of the workspace left in it. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Checks } from "./checks.ts"
import type { PackedPackage } from "./pack.ts"
import { runCommand } from "./runCommand.ts"
import { root } from "./workspacePackages.ts"

export const checkTarball = async ({ manifest, tarball, contents }: PackedPackage, checks: Checks): Promise<void> => {
  const text = readFileSync(join(contents, "package.json"), "utf8")
  const left = text.match(/"(workspace|catalog):[^"]*"|"\.\/src\/[^"]*"/g) ?? []
  const files = readdirSync(contents, { recursive: true, encoding: "utf8" })
  const stray = files.filter((file) => /\.test\.|(^|\/)(node_modules|src)\//.test(file))
  const missing = ["README.md", "LICENSE"].filter((file) => !existsSync(join(contents, file)))
  checks.record(
    `${manifest.name}: the tarball stands alone`,
    left.length + stray.length + missing.length === 0,
    `left of the workspace: ${left.join(", ")}; stray: ${stray.join(", ")}; missing: ${missing.join(", ")}`
  )
  const tool = async (label: string, args: ReadonlyArray<string>) => {
    const { code, output } = await runCommand(process.execPath, ["x", "--no-install", ...args], {
      cwd: root,
      quiet: true,
      env: { NO_COLOR: "1" }
    })
    checks.record(`${manifest.name}: ${label}`, code === 0, output)
  }
  await tool("publint", ["publint", "run", tarball, "--strict"])
  // Graft is ES modules only, so `require` from CommonJS is no mistake of its types.
  await tool("are the types wrong", ["attw", tarball, "--profile", "esm-only", "--format", "ascii", "--no-emoji"])
}
