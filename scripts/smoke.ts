/**
 * `bun run smoke`: scripts/smoke/program.mjs in Bun, Node (the one on PATH and 24) and Deno 2, against the packed
 * tarballs in a folder that knows nothing of this repository's sources. Needs `bun run build` before.
 *
 * Deno and Node 24 come from npm into .cache/runtimes, apart from the workspaces: whoever only uses Graft pays nothing.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Checks } from "./checks.ts"
import type { PackedPackage } from "./pack.ts"
import { runCommand } from "./runCommand.ts"
import { cache, catalog, effectVersion, publicPackages, root } from "./workspacePackages.ts"

const runtimeVersions = { deno: "2.9.6", node: "24.21.0" }

/** Installs the pinned Deno and Node into .cache/runtimes unless they are there. */
export const installRuntimes = async (): Promise<string> => {
  const folder = join(cache, "runtimes")
  const bin = join(folder, "node_modules", ".bin")
  const manifest = JSON.stringify({ private: true, dependencies: runtimeVersions })
  const stamp = join(folder, "installed.json")
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === manifest) return bin
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "package.json"), manifest)
  const { code, output } = await runCommand("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock"], {
    cwd: folder,
    quiet: true
  })
  if (code !== 0) throw new Error(`smoke: npm could not install Deno and Node 24 (it ended with ${code})\n${output}`)
  writeFileSync(stamp, manifest)
  return bin
}

/** TensorFlow.js that runs everywhere, for backend-tfjs. */
const tfjsPackages = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-wasm", "@tensorflow/tfjs-backend-cpu"].map((name) => [
      name,
      catalog(name)
    ])
  )

/** A user's folder: the tarballs and effect, installed. `overrides` stands for the registry that has them all. */
const installTarballs = async (packed: ReadonlyArray<PackedPackage>, effect: string): Promise<string> => {
  const parent = join(cache, "smoke")
  rmSync(parent, { recursive: true, force: true })
  mkdirSync(parent, { recursive: true })
  const folder = mkdtempSync(join(parent, "run-"))
  const files = Object.fromEntries(packed.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]))
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify(
      { private: true, type: "module", dependencies: { ...files, effect, ...tfjsPackages() }, overrides: files },
      null,
      2
    )
  )
  const { code, output } = await runCommand(process.execPath, ["install", "--no-save"], { cwd: folder, quiet: true })
  if (code !== 0) throw new Error(`smoke: the tarballs do not install (bun ended with ${code})\n${output}`)
  copyFileSync(join(root, "scripts/smoke/program.mjs"), join(folder, "program.mjs"))
  return folder
}

export const smoke = async (
  packed: ReadonlyArray<PackedPackage>,
  effect: string,
  runtimes: Promise<string>,
  checks: Checks
): Promise<void> => {
  const folder = await installTarballs(packed, effect)
  const bin = await runtimes
  const commands: ReadonlyArray<readonly [name: string, command: string, ...args: Array<string>]> = [
    ["Bun", process.execPath],
    ["Node on PATH", "node"],
    ["Node 24", join(bin, "node")],
    ["Deno 2", join(bin, "deno"), "run", "-A", "--cached-only", "--node-modules-dir=manual"]
  ]
  for (const [name, command, ...args] of commands) {
    const version = await runCommand(command, ["--version"], { cwd: folder, quiet: true })
    const scratch = mkdtempSync(join(folder, "scratch-"))
    const { code, output } = await runCommand(command, [...args, "program.mjs", scratch], {
      cwd: folder,
      quiet: true,
      timeoutMs: 180_000
    })
    checks.record(`smoke in ${name} (${version.output.split("\n")[0]})`, code === 0, output)
  }
}

if (import.meta.main) {
  const { Checks } = await import("./checks.ts")
  const { packPackage } = await import("./pack.ts")
  const checks = new Checks()
  const packed: Array<PackedPackage> = []
  for (const one of publicPackages()) packed.push(await packPackage(one))
  await smoke(packed, effectVersion(), installRuntimes(), checks)
  checks.close()
}
