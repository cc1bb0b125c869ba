/** The packages of this repository as their package.json files tell them. Needs nothing installed. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Everything that scripts make and that may be deleted at any time. */
export const cache = join(root, ".cache")

export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
  readonly publishConfig?: Readonly<Record<string, unknown>>
}

/** The peers that a program must have beside it. */
export const requiredPeers = ({ peerDependencies = {}, peerDependenciesMeta = {} }: Manifest): Array<string> =>
  Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true)

export interface WorkspacePackage {
  /** The folder's name under packages/: `core`. */
  readonly folder: string
  readonly path: string
  readonly manifest: Manifest
}

export const workspacePackages = (): ReadonlyArray<WorkspacePackage> =>
  readdirSync(join(root, "packages"))
    .sort()
    .filter((folder) => existsSync(join(root, "packages", folder, "package.json")))
    .map((folder) => {
      const path = join(root, "packages", folder)
      // Our own file, checked by install before anything reads it here.
      const manifest = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as Manifest
      return { folder, path, manifest }
    })

/** Those that users install. */
export const publicPackages = (): ReadonlyArray<WorkspacePackage> =>
  workspacePackages().filter(({ manifest }) => manifest.private !== true)

/** The version of `name` that the catalog pins. */
export const catalog = (name: string): string => {
  const { workspaces } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly workspaces: { readonly catalog: Readonly<Record<string, string>> }
  } // our own file
  const version = workspaces.catalog[name]
  if (version === undefined) throw new RangeError(`the catalog in package.json pins no ${name}`)
  return version
}

export const effectVersion = (): string => catalog("effect")
