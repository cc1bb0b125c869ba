/**
 * One file of a repository, by way of the cache of huggingface_hub: blobs/<etag> holds the bytes, snapshots/<commit>/<path>
 * points there. A download that broke off goes on where it stopped; what came is compared with the hash that the Hub names
 * (SHA-256 of large files, Git's SHA-1 of others) before it gets its name.
 */
import { createHash, randomUUID } from "node:crypto"
import { createReadStream } from "node:fs"
import { copyFile, mkdir, open, rename, rm, symlink } from "node:fs/promises"
import { dirname, relative } from "node:path"
import { Effect } from "effect"
import { HubError } from "./HubError.ts"
import { type Asked, hubRequest, reasonOf, STALLED, wait } from "./hubRequest.ts"
import { isThere, lookUp, partOf, placeOf, type Remote } from "./lookUp.ts"
import { asHubError, type HubRepo } from "./openRepo.ts"

export interface FetchOptions {
  /** Told as bytes come: how many there are of how many. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** The path of the file on this machine. Fails with HubError. */
export const fetchFile = (repo: HubRepo, file: string, options: FetchOptions = {}): Effect.Effect<string, HubError> =>
  Effect.tryPromise({
    try: (signal) => fetched(repo, file, options, signal),
    catch: (error) => asHubError(`${repo.id}/${file}`, error)
  })

/** Attempts in a row that bring no byte. */
const ATTEMPTS = 5

const fetched = async (repo: HubRepo, file: string, options: FetchOptions, signal: AbortSignal): Promise<string> => {
  if (!repo.files.includes(file)) {
    throw new HubError({ message: `${repo.id} has no file ${file}`, what: repo.id, reason: "not-found" })
  }
  const path = placeOf(repo, file)
  if (await isThere(path)) return path
  if (repo.settings.offline) {
    throw new HubError({
      message: `${repo.id}: HF_HUB_OFFLINE is set, and ${path} is not there. Unset it once to fetch it`,
      what: repo.id,
      reason: "offline"
    })
  }
  const asked: Asked = { ...repo.asked, what: `${repo.id}/${file}`, signal }
  const remote = await lookUp(repo, file, asked)
  if (!(await isThere(remote.blob))) {
    await mkdir(dirname(remote.blob), { recursive: true })
    await download(repo, remote, asked, options)
  }
  await point(path, remote.blob)
  return path
}

const download = async (repo: HubRepo, remote: Remote, asked: Asked, options: FetchOptions): Promise<void> => {
  // A file begun by another process may be under way there: only whole files are trusted, by their hash.
  let part = partOf(remote)
  for (let round = 1; ; round++) {
    await fill(repo, remote, part, asked, options)
    const found = await hashOf(part, remote)
    if (found === undefined || found === remote.etag) break
    await rm(part, { force: true })
    if (round > 1) {
      throw new HubError({
        message: `${asked.what}: the bytes that came have the hash ${found}, wanted ${remote.etag}. Something on the way changes them: try again, or another network`,
        what: asked.what,
        reason: "damaged"
      })
    }
    part = `${remote.blob}.${randomUUID()}.incomplete`
  }
  await rename(part, remote.blob)
}

/** Fetches what is missing of a file, until it has its size. */
const fill = async (
  { settings }: HubRepo,
  { url, size }: Remote,
  part: string,
  asked: Asked,
  { onProgress }: FetchOptions
): Promise<void> => {
  const handle = await open(part, "a")
  try {
    let done = (await handle.stat()).size
    if (done > size) {
      await handle.truncate(0)
      done = 0
    }
    // Progress is what goes beyond all before: a server whose file is shorter now would else be asked without end.
    let most = done
    for (let failures = 0; done < size; ) {
      const before = done
      let problem = "the connection ended early"
      const stalled = new AbortController()
      try {
        const signal = AbortSignal.any([stalled.signal, ...(asked.signal === undefined ? [] : [asked.signal])])
        const headers: Record<string, string> = done > 0 ? { range: `bytes=${done}-` } : {}
        const response = await hubRequest(settings, url, { ...asked, signal }, { headers, expected: [416] })
        const whole = sizeSaid(response)
        if (whole !== undefined && whole !== size) {
          await response.body?.cancel()
          throw new HubError({
            message: `${asked.what} changed while it was fetched: ${size} bytes were announced, and the server has ${whole} now. Run it again, for what is there now`,
            what: asked.what,
            reason: "damaged"
          })
        }
        const from = Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1] ?? 0)
        if (response.status === 416 || from !== done) {
          // What is there does not fit what the server has: begin anew.
          await handle.truncate(0)
          done = 0
        }
        if (response.status === 416 || (from !== 0 && from !== before) || response.body === null) {
          await response.body?.cancel()
        } else {
          let timer = setTimeout(() => stalled.abort(), STALLED)
          try {
            for await (const chunk of response.body) {
              clearTimeout(timer)
              timer = setTimeout(() => stalled.abort(), STALLED)
              const bytes = chunk.subarray(0, size - done)
              await handle.appendFile(bytes)
              done += bytes.length
              onProgress?.(done, size)
              if (done >= size) break
            }
          } finally {
            clearTimeout(timer)
          }
        }
      } catch (cause) {
        asked.signal?.throwIfAborted()
        if (cause instanceof HubError || isDisk(cause)) throw cause
        problem = reasonOf(cause)
      }
      failures = done > most ? 0 : failures + 1
      most = Math.max(most, done)
      if (done >= size) break
      if (failures >= ATTEMPTS) {
        throw new HubError({
          message: `${asked.what}: the download breaks off at ${done} of ${size} bytes (${problem}), ${ATTEMPTS} times in a row. Run it again: it goes on from there`,
          what: asked.what,
          reason: "network"
        })
      }
      await wait(settings.backOff * 2 ** failures, asked.signal)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The size of the whole file, where the answer tells it. */
const sizeSaid = ({ status, headers }: Response): number | undefined => {
  const range = /\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1]
  const length = status === 200 && !headers.has("content-encoding") ? headers.get("content-length") : undefined
  const said = range ?? length
  return said == null ? undefined : Number(said)
}

const isDisk = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && /^(ENOSPC|EDQUOT|EFBIG|EROFS|EACCES|EPERM|EIO)$/.test(String(cause.code))

/** The hash of the kind that the name is; undefined where the name is none that is known. */
const hashOf = async (path: string, { etag, size }: Remote): Promise<string | undefined> => {
  const hash = /^[0-9a-f]{64}$/.test(etag)
    ? createHash("sha256")
    : /^[0-9a-f]{40}$/.test(etag)
      ? createHash("sha1").update(`blob ${size}\0`)
      : undefined
  if (hash === undefined) return undefined
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  return hash.digest("hex")
}

/** Where links are not to be had (Windows, some network disks) the file is copied, as huggingface_hub does. */
const point = async (path: string, blob: string): Promise<void> => {
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${randomUUID()}`
  try {
    await symlink(relative(dirname(path), blob), temporary)
  } catch {
    await copyFile(blob, temporary)
  }
  await rename(temporary, path)
}
