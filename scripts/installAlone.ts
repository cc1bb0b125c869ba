/**
 * `bun run install-alone`: each packed tarball in an empty folder outside this repository, with its peers and what its README's
 * example imports, and that example run as copied: by bun, by npm with Node, and by Deno from a registry of these tarballs, since
 * Deno knows no tarball by path. `--from-source` also deletes the native library there and compiles it, which takes minutes. Needs `bun run build` before.
 *
 * What an example prints must be what its `// =>` comments say, in order.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Checks } from "./checks.ts"
import type { PackedPackage } from "./pack.ts"
import { runCommand } from "./runCommand.ts"
import { serveTarballs } from "./serveTarballs.ts"
import { installRuntimes } from "./smoke.ts"
import { cache, catalog, publicPackages, requiredPeers } from "./workspacePackages.ts"

/** The first `ts` block of a README, as a reader would copy it. */
export const exampleOf = (readme: string): string | undefined => /^```ts\n(.*?)^```$/ms.exec(readme)?.[1]

/** What the example says it prints. */
export const shownOutput = (example: string): ReadonlyArray<string> =>
  [...example.matchAll(/\/\/ => (.*)$/gm)].map(([, line = ""]) => line.trimEnd())

/** The packages that the example imports: `@graft/core`, `effect`; not `node:fs`. */
const importedBy = (example: string): ReadonlyArray<string> =>
  [...example.matchAll(/(?:from|import) "((?:@[^/"]+\/)?[^/":]+)[^":]*"/g)].map(([, name = ""]) => name)

/** One package in its folder: what is installed there, and the example that runs. */
interface Lone {
  readonly one: PackedPackage
  readonly example: string | undefined
  /** The package, its peers and what the example imports. */
  readonly names: ReadonlyArray<string>
}

const loneOf = (one: PackedPackage): Lone => {
  const { name } = one.manifest
  const example = exampleOf(readFileSync(join(one.contents, "README.md"), "utf8"))
  return {
    one,
    example,
    names: [...new Set([name, ...requiredPeers(one.manifest), ...importedBy(example ?? "")])]
  }
}

const emptyFolder = (): string => mkdtempSync(join(tmpdir(), "graft-alone-"))

const writeManifest = (folder: string, rest: Readonly<Record<string, unknown>>): void =>
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", ...rest }, null, 2))

/** Tarballs by path; `overrides` stands for a registry that has them, for the packages that these depend on. */
const byPath = (packed: ReadonlyArray<PackedPackage>, names: ReadonlyArray<string>) => {
  const files = Object.fromEntries(packed.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]))
  return {
    dependencies: Object.fromEntries(names.map((name) => [name, files[name] ?? catalog(name)])),
    overrides: files
  }
}

interface Installer {
  readonly label: string
  readonly prepare: (folder: string, names: ReadonlyArray<string>) => void
  readonly install: readonly [command: string, ...args: ReadonlyArray<string>]
  readonly run: readonly [command: string, ...args: ReadonlyArray<string>]
  readonly file: string
  readonly env?: Readonly<Record<string, string>>
  /** How `graft` is typed there. */
  readonly command: {
    readonly title: string
    readonly graft: readonly [command: string, ...args: ReadonlyArray<string>]
  }
}

/** Installs and runs; hands the folder on to `more`, then removes it. */
const tryAlone = async (
  { one, example, names }: Lone,
  { label, prepare, install, run, file, env = {} }: Installer,
  checks: Checks,
  more?: (folder: string, again: (name: string) => Promise<void>) => Promise<void>
): Promise<void> => {
  const title = `${one.manifest.name} alone, ${label}`
  const folder = emptyFolder()
  try {
    prepare(folder, names)
    const options = { cwd: folder, quiet: true, env, timeoutMs: 180_000 }
    const [installer, ...installArgs] = install
    const installed = await runCommand(installer, installArgs, options)
    if (installed.code !== 0) return checks.record(`${title}: installs`, false, installed.output)
    const again = async (name: string): Promise<void> => {
      const [runtime, ...runArgs] = run
      writeFileSync(join(folder, file), example ?? "")
      const { code, output } = await runCommand(runtime, [...runArgs, file], {
        ...options,
        env: { ...env, NO_COLOR: "1" }
      })
      const wanted = shownOutput(example ?? "").join("\n")
      checks.record(
        name,
        code === 0 && output.trimEnd() === wanted,
        `it ended with ${code}\n${output}\nwanted:\n${wanted}`
      )
    }
    if (example !== undefined) await again(`${title}: the README's example runs`)
    await more?.(folder, again)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The bin entry, as users type it. */
const tryCommand =
  (checks: Checks, { command: { graft, title }, env = {} }: Installer) =>
  async (folder: string): Promise<void> => {
    const [command, ...args] = graft
    const { code, output } = await runCommand(command, [...args, "--help"], { cwd: folder, quiet: true, env })
    checks.record(`@graft/cli alone: ${title} --help`, code === 0 && /\btrain\b/.test(output), output)
  }

/** Without the library the message names a command; that command, run by Node, builds it. */
const tryFromSource = (checks: Checks) => async (folder: string, again: (name: string) => Promise<void>) => {
  rmSync(join(folder, "node_modules/@graft/backend-cpu/prebuilt"), { recursive: true })
  const { code, output } = await runCommand("node", ["example.mjs"], { cwd: folder, quiet: true })
  const program = /node "([^"]+buildNative\.js)"/.exec(output)?.[1]
  checks.record("backend-cpu without its library names the command", code !== 0 && program !== undefined, output)
  if (program === undefined) return
  const start = performance.now()
  const built = await runCommand("node", [program], { cwd: folder, quiet: true })
  const seconds = ((performance.now() - start) / 1000).toFixed(0)
  checks.record(`backend-cpu compiles from its tarball with Node (${seconds} s)`, built.code === 0, built.output)
  await again("backend-cpu compiled from source: the README's example runs")
}

export const installAlone = async (
  packed: ReadonlyArray<PackedPackage>,
  bin: string,
  checks: Checks,
  fromSource = false
): Promise<void> => {
  const prepare = (folder: string, names: ReadonlyArray<string>) => writeManifest(folder, byPath(packed, names))
  const bun: Installer = {
    label: "by bun",
    prepare,
    install: [process.execPath, "install"],
    run: [process.execPath],
    file: "example.ts",
    command: { title: "bunx graft", graft: [process.execPath, "x", "--no-install", "graft"] }
  }
  // The examples are JavaScript too, so that Node 20 runs them as copied.
  const npm: Installer = {
    label: "by npm and Node",
    prepare,
    install: ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"],
    run: ["node"],
    file: "example.mjs",
    command: { title: "npx graft", graft: ["npx", "--no-install", "graft"] }
  }
  const registry = await serveTarballs(packed)
  const runInDeno = [join(bin, "deno"), "run", "-A", "--cached-only", "--node-modules-dir=auto"] as const
  const deno: Installer = {
    label: "by Deno",
    prepare: (folder, names) => {
      writeFileSync(join(folder, ".npmrc"), `@graft:registry=${registry.url}\n`)
      const version = (name: string) => packed.find(({ manifest }) => manifest.name === name)?.manifest.version
      writeManifest(folder, {
        dependencies: Object.fromEntries(names.map((name) => [name, version(name) ?? catalog(name)]))
      })
    },
    install: [join(bin, "deno"), "install", "--node-modules-dir=auto"],
    run: runInDeno,
    file: "example.ts",
    env: { DENO_DIR: join(cache, "deno"), DENO_NO_UPDATE_CHECK: "1" },
    command: { title: "deno run npm:@graft/cli", graft: [...runInDeno, "npm:@graft/cli"] }
  }
  try {
    for (const each of packed.map(loneOf)) {
      const { folder, manifest } = each.one
      if (each.example === undefined && folder !== "cli") {
        checks.record(`${manifest.name}: its README has an example`, false)
        continue
      }
      for (const installer of [bun, npm, deno]) {
        const source = fromSource && folder === "backend-cpu" && installer === npm
        const more = folder === "cli" ? tryCommand(checks, installer) : source ? tryFromSource(checks) : undefined
        await tryAlone(each, installer, checks, more)
      }
    }
  } finally {
    await registry.close()
    // Its packages were cached under its address, which will never come again.
    rmSync(join(cache, "deno/npm", `localhost_${registry.port}`), { recursive: true, force: true })
  }
}

if (import.meta.main) {
  const { Checks } = await import("./checks.ts")
  const { packPackage } = await import("./pack.ts")
  const checks = new Checks()
  const packed: Array<PackedPackage> = []
  for (const one of publicPackages()) packed.push(await packPackage(one))
  await checks.part("install alone", async () =>
    installAlone(packed, await installRuntimes(), checks, process.argv.includes("--from-source"))
  )
  checks.close()
}
