/** Where a file of a repository lies: with the Hub, which tells name and size of its bytes, and in the cache. */
import { stat } from "node:fs/promises"
import { join } from "node:path"
import { HubError } from "./HubError.ts"
import { type Asked, hubRequest } from "./hubRequest.ts"
import { type HubRepo, pathOf } from "./openRepo.ts"

export interface Remote {
  readonly url: string
  readonly etag: string
  /** In bytes. */
  readonly size: number
  /** The file of the cache that holds the bytes, or will. */
  readonly blob: string
}

/** Where readers look for it. */
export const placeOf = (repo: HubRepo, file: string): string =>
  join(repo.folder, "snapshots", repo.sha, ...file.split("/"))

/** What a download that broke off has left. */
export const partOf = ({ blob }: Remote): string => `${blob}.incomplete`

export const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false
  )

/** A commit never changes, so that the Hub is asked once. */
const known = new WeakMap<HubRepo, Map<string, Remote>>()

export const lookUp = async (repo: HubRepo, file: string, asked: Asked): Promise<Remote> => {
  const files = known.get(repo) ?? new Map<string, Remote>()
  known.set(repo, files)
  const remote = files.get(file) ?? (await askedOf(repo, file, asked))
  files.set(file, remote)
  return remote
}

/** Name and size of the bytes. Large files lie with a storage host, and the answer that points there names them. */
const askedOf = async (repo: HubRepo, file: string, asked: Asked): Promise<Remote> => {
  const { settings, sha } = repo
  const url = `${settings.endpoint}/${pathOf(repo)}/resolve/${sha}/${file.split("/").map(encodeURIComponent).join("/")}`
  const { headers } = await hubRequest(settings, url, asked, {
    method: "HEAD",
    stopAt: (response) => response.headers.has("x-linked-etag")
  })
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\//, "").replaceAll('"', "")
  const size = Number(headers.get("x-linked-size") ?? headers.get("content-length") ?? Number.NaN)
  if (!/^[\w-]{8,128}$/.test(etag) || !(Number.isSafeInteger(size) && size >= 0)) {
    throw new HubError({
      message: `${asked.what}: ${settings.endpoint} names neither hash nor size of it. Is it a mirror that leaves them out? Try HF_ENDPOINT=https://huggingface.co`,
      what: asked.what,
      reason: "server"
    })
  }
  return { url, etag, size, blob: join(repo.folder, "blobs", etag) }
}
