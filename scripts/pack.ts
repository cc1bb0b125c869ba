/**
 * `bun run pack`: each built package as the tarball that a registry gets, in .cache/packed/.
 *
 * `bun pm pack` turns `workspace:` and `catalog:` into versions but, unlike pnpm, leaves `publishConfig` alone. So the
 * packed files are laid out once, `publishConfig` is written over package.json there (exports and bin then point into
 * dist/), what only the repository needs is taken out, and the result is packed again. No file of the repository changes.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { runCommand } from "./runCommand.ts"
import { cache, publicPackages, root, type WorkspacePackage } from "./workspacePackages.ts"

export interface PackedPackage extends WorkspacePackage {
  readonly tarball: string
  /** The files of the tarball, laid out. */
  readonly contents: string
}

const must = async (command: string, args: ReadonlyArray<string>, cwd: string): Promise<void> => {
  const { code, output } = await runCommand(command, args, { cwd, quiet: true })
  if (code !== 0) throw new Error(`pack: \`${command} ${args.join(" ")}\` ended with ${code}\n${output}`)
}

const tarballName = ({ name, version }: WorkspacePackage["manifest"]): string =>
  `${name.replace("@", "").replace("/", "-")}-${version}.tgz`

/** The package.json of the tarball: `publishConfig` applied, development's part left out. */
export const publishedManifest = (manifest: Readonly<Record<string, unknown>>): Record<string, unknown> => {
  const { publishConfig, devDependencies: _, scripts, ...rest } = manifest
  const { access, ...overrides } = (publishConfig ?? {}) as Record<string, unknown> // a JSON object by npm's definition
  const { build: __, ...runs } = (scripts ?? {}) as Record<string, unknown> // likewise
  return {
    ...rest,
    ...(Object.keys(runs).length === 0 ? {} : { scripts: runs }),
    ...overrides,
    ...(access === undefined ? {} : { publishConfig: { access } })
  }
}

export const packPackage = async (one: WorkspacePackage): Promise<PackedPackage> => {
  if (!existsSync(join(one.path, "dist"))) {
    throw new Error(`pack: ${one.manifest.name} has no dist/; run \`bun run build ${one.folder}\` first`)
  }
  const staging = join(cache, "staging", one.folder)
  const contents = join(staging, "package")
  const packed = join(cache, "packed")
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  mkdirSync(packed, { recursive: true })
  await must(process.execPath, ["pm", "pack", "--quiet", "--ignore-scripts", "--destination", staging], one.path)
  await must("tar", ["-xzf", tarballName(one.manifest)], staging)
  const manifestPath = join(contents, "package.json")
  const manifest = JSON.parse(readFileSync(manifestPath, "utf8")) as Record<string, unknown> // bun has just written it
  writeFileSync(manifestPath, `${JSON.stringify(publishedManifest(manifest), null, 2)}\n`)
  copyFileSync(join(root, "LICENSE"), join(contents, "LICENSE"))
  await must(process.execPath, ["pm", "pack", "--quiet", "--ignore-scripts", "--destination", packed], contents)
  return { ...one, tarball: join(packed, tarballName(one.manifest)), contents }
}

if (import.meta.main) {
  for (const one of publicPackages()) console.log((await packPackage(one)).tarball)
}
