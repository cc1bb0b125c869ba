/**
 * A model or a data set of the Hub at one commit: which commit a revision means, and the files in it. Where the network is
 * out of reach, or HF_HUB_OFFLINE forbids it, the cache answers, with the files that it holds.
 */
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises"
import { dirname, join, relative, sep } from "node:path"
import { pid } from "node:process"
import { Effect, Schema } from "effect"
import { HubError } from "./HubError.ts"
import { type HubSettings, hubSettings } from "./HubSettings.ts"
import { type Asked, hubRequest } from "./hubRequest.ts"

export type RepoKind = "model" | "dataset"
export interface RepoName {
  readonly kind: RepoKind
  /** `org/name` */
  readonly id: string
  /** A branch, a tag or a commit; `main` unless given. */
  readonly revision?: string | undefined
}

export interface HubRepo {
  readonly kind: RepoKind
  readonly id: string
  readonly revision: string
  /** The commit. */
  readonly sha: string
  /** Paths in it, sorted. */
  readonly files: ReadonlyArray<string>
  /** Whether the cache answered, which may hold some of the files only. */
  readonly fromCache: boolean
  /** Its folder in the cache. */
  readonly folder: string
  readonly settings: HubSettings
  readonly asked: Asked
}

const Info = Schema.Struct({
  sha: Schema.String.check(Schema.isPattern(/^[0-9a-f]{40}$/)),
  siblings: Schema.Array(Schema.Struct({ rfilename: Schema.String }))
})
const decodeInfo = Schema.decodeUnknownSync(Info)

export const isRepoId = (id: string): boolean =>
  /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/.test(id) && !/\.\.|--/.test(id)

const plural = { model: "models", dataset: "datasets" } as const

/** The path of a page or a file of a repository. */
export const pathOf = ({ kind, id }: { readonly kind: RepoKind; readonly id: string }): string =>
  kind === "model" ? id : `datasets/${id}`

/** Fails with HubError. `settings` are those of the environment unless given. */
export const openRepo = (name: RepoName, settings: HubSettings = hubSettings()): Effect.Effect<HubRepo, HubError> =>
  Effect.tryPromise({ try: (signal) => open(name, settings, signal), catch: (error) => asHubError(name.id, error) })

export const asHubError = (what: string, error: unknown): HubError => {
  if (error instanceof HubError) return error
  const said = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined
  const full = code === "ENOSPC" || code === "EDQUOT"
  const cure = full ? ". Make room, or set HF_HOME to a folder on another disk; what has come is gone on with" : ""
  return new HubError({ message: `${what}: ${said}${cure}`, what, reason: code === undefined ? "server" : "disk" })
}

const open = async (name: RepoName, settings: HubSettings, signal: AbortSignal): Promise<HubRepo> => {
  const { kind, id, revision = "main" } = name
  const problem = !isRepoId(id)
    ? `${id} is no name of the form org/name`
    : isRevision(revision)
      ? undefined
      : `${revision} is no revision`
  if (problem !== undefined) throw new HubError({ message: problem, what: id, reason: "not-found" })
  const folder = join(settings.cache, `${plural[kind]}--${id.replace("/", "--")}`)
  const page = `${settings.endpoint}/${pathOf({ kind, id })}`
  const repo = { kind, id, revision, folder, settings, asked: { what: id, page } }
  if (!settings.offline) {
    try {
      const url = `${settings.endpoint}/api/${plural[kind]}/${id}/revision/${encodeURIComponent(revision)}`
      const response = await hubRequest(settings, url, { ...repo.asked, signal })
      const { sha, siblings } = decodeInfo(await response.json())
      await keepRevision(folder, revision, sha)
      return {
        ...repo,
        sha,
        files: siblings
          .map(({ rfilename }) => rfilename)
          .filter(isSafe)
          .sort(),
        fromCache: false
      }
    } catch (error) {
      if (!(error instanceof HubError && error.reason === "network")) throw error
      const cached = await cachedFiles(folder, revision)
      if (cached === undefined) throw error
      return { ...repo, ...cached, fromCache: true }
    }
  }
  const cached = await cachedFiles(folder, revision)
  if (cached === undefined) {
    throw new HubError({
      message: `${id}: HF_HUB_OFFLINE is set, and ${folder} does not hold its revision ${revision}. Unset it once to fetch what is wanted`,
      what: id,
      reason: "offline"
    })
  }
  return { ...repo, ...cached, fromCache: true }
}

const isRevision = (revision: string): boolean => /^[\w][\w./-]*$/.test(revision) && !revision.includes("..")
/** Names come from the server, and become paths here. */
const isSafe = (file: string): boolean =>
  !/[\\\0:]/.test(file) && file.split("/").every((part) => part !== "" && part !== "." && part !== "..")

/** refs/<revision> holds the commit, as huggingface_hub keeps it. */
const keepRevision = async (folder: string, revision: string, sha: string): Promise<void> => {
  if (revision === sha) return
  const path = join(folder, "refs", ...revision.split("/"))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.${pid}`, sha)
  await rename(`${path}.${pid}`, path)
}

const cachedFiles = async (
  folder: string,
  revision: string
): Promise<{ readonly sha: string; readonly files: ReadonlyArray<string> } | undefined> => {
  const sha = /^[0-9a-f]{40}$/.test(revision)
    ? revision
    : (await readFile(join(folder, "refs", ...revision.split("/")), "utf8").catch(() => "")).trim()
  if (!/^[0-9a-f]{40}$/.test(sha)) return undefined
  const root = join(folder, "snapshots", sha)
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
  return files.length === 0 ? undefined : { sha, files: files.sort() }
}
