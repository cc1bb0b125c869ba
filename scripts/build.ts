/** `bun run build [folder …]`: each package's dist/ by tsup (ES modules, ES2022, one .d.ts an entry), two at a time. */
import type { Checks } from "./checks.ts"
import { runCommand } from "./runCommand.ts"
import { publicPackages, type WorkspacePackage } from "./workspacePackages.ts"

export const buildPackages = async (packages: ReadonlyArray<WorkspacePackage>, checks: Checks): Promise<void> => {
  const waiting = [...packages]
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { code, output } = await runCommand(process.execPath, ["run", "build"], { cwd: next.path, quiet: true })
      checks.record(`build ${next.manifest.name}`, code === 0, output)
    }
  }
  await Promise.all([worker(), worker()])
}

if (import.meta.main) {
  const { Checks } = await import("./checks.ts")
  const checks = new Checks()
  const folders = process.argv.slice(2)
  const known = publicPackages()
  const unknown = folders.filter((folder) => !known.some((one) => one.folder === folder))
  if (unknown.length > 0) {
    throw new RangeError(`build: no package ${unknown.join(", ")}; there are ${known.map((p) => p.folder).join(", ")}`)
  }
  await buildPackages(folders.length === 0 ? known : known.filter((one) => folders.includes(one.folder)), checks)
  checks.close()
}
