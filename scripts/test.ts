/**
 * `bun run test`: everything that must be true of this repository, from a fresh clone on: installs, builds the native
 * code, type-checks, lints, runs all tests, builds and packs the packages, and runs them in each runtime. It goes on
 * after a failure and ends with `N passed, N failed`. Imports only what needs no install until the install is done.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Checks } from "./checks.ts"
import type { PackedPackage } from "./pack.ts"
import { runCommand } from "./runCommand.ts"
import { effectVersion, publicPackages, root } from "./workspacePackages.ts"

const checks = new Checks()
const bun = process.execPath

/** One command of the repository, one check. */
const command = async (name: string, args: ReadonlyArray<string>): Promise<void> => {
  const { code } = await runCommand(bun, args, { cwd: root })
  checks.record(name, code === 0)
}

/** `bun test` says ` 12 pass`, ` 0 fail`, ` 1 skip`; a run that was cut off says nothing and ends with an error. */
const tests = async (): Promise<void> => {
  const folders = ["./packages", "./examples", "./bench", "./scripts"]
  const { code, output } = await runCommand(bun, ["test", "--timeout", "300000", ...folders], { cwd: root })
  const count = (word: string): number => Number(output.match(new RegExp(`^ *(\\d+) ${word}$`, "m"))?.[1] ?? 0)
  checks.passed += count("pass")
  // Once where they happen, and all together once more under a headline at the end.
  const named = output.split(/^\d+ tests failed:$/m)[0]?.match(/^\(fail\) .*$/gm) ?? []
  for (const line of named) checks.failures.push(line.replace(/ \[[^\]]*\]$/, ""))
  // A file that does not load is counted by bun as a failure, without a `(fail)` line of its own.
  for (let index = named.length; index < count("fail"); index++)
    checks.failures.push("bun test: an error outside of a test")
  if (count("skip") + count("todo") > 0) checks.record("bun test: no test is skipped", false)
  if (code !== 0 && count("fail") === 0) checks.record(`bun test ended with ${code}`, false)
  if (count("pass") === 0) checks.record("bun test ran tests", false)
}

await checks.part("install", async () => {
  const { code } = await runCommand(bun, ["install", "--frozen-lockfile"], { cwd: root })
  checks.record("bun install --frozen-lockfile", code === 0)
})

if (checks.failures.length === 0) {
  const { installRuntimes, smoke } = await import("./smoke.ts")
  const runtimes = installRuntimes() // downloads while the rest computes
  runtimes.catch(() => undefined) // reported where it is awaited
  if (existsSync(join(root, "packages/backend-cpu/scripts/buildNative.ts"))) {
    await checks.part("native code", () => command("build:native", ["run", "build:native"]))
  }
  await checks.part("types", () => command("tsc --noEmit", ["run", "typecheck"]))
  await checks.part("format and lint", () => command("biome check", ["run", "lint"]))
  await checks.part("tests", tests)
  await checks.part("packages", async () => {
    const { buildPackages } = await import("./build.ts")
    await buildPackages(publicPackages(), checks)
  })
  await checks.part("tarballs", async () => {
    const { packPackage } = await import("./pack.ts")
    const { checkTarball } = await import("./checkTarball.ts")
    const packed: Array<PackedPackage> = []
    for (const one of publicPackages()) packed.push(await packPackage(one))
    for (const one of packed) await checkTarball(one, checks)
    await checks.part("runtimes", () => smoke(packed, effectVersion(), runtimes, checks))
    const { installAlone } = await import("./installAlone.ts")
    await checks.part("each package alone", async () => installAlone(packed, await runtimes, checks))
  })
}

checks.close()
