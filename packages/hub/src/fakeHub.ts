/**
 * A server that speaks the Hub's paths, for tests: revisions, files with their hashes, large files behind a redirect to another
 * origin, ranges; and it can refuse, ask to wait, and break off.
 */
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface FakeRepo {
  /** By path. */
  readonly files: Readonly<Record<string, Uint8Array | string>>
  /** Files of this many bytes and more lie with the storage host. */
  readonly largeFrom?: number
  /** Further branches by name, each with its files. */
  readonly branches?: Readonly<Record<string, Readonly<Record<string, Uint8Array | string>>>>
  /** The token that opens it. */
  readonly token?: string
  /** Its page is open to all, its files are not. */
  readonly gated?: boolean
  /** Tokens of accounts that may not see it. */
  readonly strangers?: ReadonlyArray<string>
  /** Files that are said to be of so many bytes. */
  readonly claims?: Readonly<Record<string, number>>
}

export interface FakeHub extends AsyncDisposable {
  readonly endpoint: string
  readonly requests: ReadonlyArray<{
    readonly method: string
    readonly path: string
    readonly headers: IncomingMessage["headers"]
  }>
  /** Answers the next `count` requests with this status and these headers. */
  readonly refuse: (count: number, status: number, headers?: Readonly<Record<string, string>>) => void
  /** Breaks off the next bodies after so many bytes each. */
  readonly breakAfter: (...bytes: ReadonlyArray<number>) => void
  /** Changes one byte of the next bodies. */
  readonly damage: (count: number) => void
  /** Once the breaks above are used up, all bodies are of these bytes: a file that changes under its name. */
  readonly changeTo: (bytes: Uint8Array) => void
  /** Answers to requests for a part don't tell the size of the whole. */
  readonly hideSizes: () => void
}

/** `repos` by `datasets/org/name` or `models/org/name`. */
export const fakeHub = async (repos: Readonly<Record<string, FakeRepo>>): Promise<FakeHub> => {
  const requests: Array<FakeHub["requests"][number]> = []
  const refusals: Array<{ readonly status: number; readonly headers: Readonly<Record<string, string>> }> = []
  const breaks: Array<number> = []
  let damaged = 0
  let changed: Uint8Array | undefined
  let hidden = false

  const send = (request: IncomingMessage, response: ServerResponse, own: Uint8Array, headers: object): void => {
    const bytes = request.method === "GET" && breaks.length === 0 ? (changed ?? own) : own
    const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? []
    const start = Number(from ?? 0)
    if (start > 0 && start >= bytes.length) return void response.writeHead(416).end()
    const body = Buffer.from(bytes.subarray(start))
    if (damaged > 0 && request.method === "GET" && body.length > 0) {
      damaged--
      body[0]! ^= 1
    }
    response.writeHead(from === undefined ? 200 : 206, {
      ...headers,
      "content-length": body.length,
      ...(from === undefined
        ? {}
        : { "content-range": `bytes ${start}-${bytes.length - 1}/${hidden ? "*" : bytes.length}` })
    })
    if (request.method === "HEAD") return void response.end()
    const cut = breaks.shift()
    if (cut === undefined || cut >= body.length) return void response.end(body)
    response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20))
  }

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://hub").pathname)
    requests.push({ method: request.method ?? "", path, headers: request.headers })
    const refusal = refusals.shift()
    if (refusal !== undefined) return void response.writeHead(refusal.status, refusal.headers).end("no")
    const [, kind = "", id = "", revision = ""] =
      /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path) ?? []
    const [, data, owner, commit = "", file = ""] =
      /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(path) ?? []
    const repo = repos[`${kind}/${id}`] ?? repos[`${data === undefined ? "models" : "datasets"}/${owner}`]
    if (repo === undefined) return void response.writeHead(401, { "x-error-code": "RepoNotFound" }).end()
    const no = closed(repo, request.headers.authorization, kind !== "")
    if (no !== undefined) return void response.writeHead(...no).end()
    const branches: Readonly<Record<string, FakeRepo["files"]>> = { main: repo.files, ...repo.branches }
    if (kind !== "") {
      const name = Object.keys(branches).find((branch) => branch === revision || shaOf(branch) === revision)
      if (name === undefined) return void response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end()
      const siblings = Object.keys(branches[name]!).map((rfilename) => ({ rfilename }))
      return void response.writeHead(200).end(JSON.stringify({ id, sha: shaOf(name), siblings }))
    }
    const branch = Object.keys(branches).find((one) => shaOf(one) === commit)
    const content = branches[branch ?? ""]?.[file]
    if (content === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end()
    const bytes = typeof content === "string" ? Buffer.from(content) : content
    const commitHeader = { "x-repo-commit": commit }
    const claimed = repo.claims?.[file]
    if (claimed === undefined && bytes.length < (repo.largeFrom ?? Number.POSITIVE_INFINITY)) {
      const etag = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex")
      return send(request, response, bytes, { ...commitHeader, etag: `"${etag}"` })
    }
    const etag = createHash("sha256").update(bytes).digest("hex")
    blobs.set(etag, bytes)
    const location = `${originOf(storage)}/blob/${etag}`
    response
      .writeHead(302, {
        ...commitHeader,
        location,
        "x-linked-etag": `"${etag}"`,
        "x-linked-size": claimed ?? bytes.length
      })
      .end()
  }

  const blobs = new Map<string, Uint8Array>()
  const storage = await listening((request, response) => {
    requests.push({ method: request.method ?? "", path: `storage${request.url}`, headers: request.headers })
    send(request, response, blobs.get((request.url ?? "").slice("/blob/".length)) ?? new Uint8Array(0), {})
  })
  const server = await listening(answer)
  return {
    endpoint: originOf(server),
    requests,
    refuse: (count, status, headers = {}) => {
      for (let i = 0; i < count; i++) refusals.push({ status, headers })
    },
    breakAfter: (...bytes) => {
      breaks.push(...bytes)
    },
    damage: (count) => {
      damaged = count
    },
    changeTo: (bytes) => {
      changed = bytes
    },
    hideSizes: () => {
      hidden = true
    },
    [Symbol.asyncDispose]: async () => {
      for (const one of [server, storage]) {
        one.closeAllConnections()
        await new Promise((resolve) => one.close(resolve))
      }
    }
  }
}

/** Status and headers by which the Hub refuses who asks, as huggingface_hub reads them (utils/_http.py, hf_raise_for_status). */
const closed = (
  { token, gated = false, strangers = [] }: FakeRepo,
  authorization: string | undefined,
  isPage: boolean
): readonly [status: number, headers: Readonly<Record<string, string>>] | undefined => {
  const given = authorization?.replace("Bearer ", "")
  if (token === undefined || given === token) return undefined
  if (given !== undefined && !strangers.includes(given))
    return [401, { "x-error-message": "Invalid credentials in Authorization header" }]
  if (gated) return isPage ? undefined : [given === undefined ? 401 : 403, { "x-error-code": "GatedRepo" }]
  return [given === undefined ? 401 : 404, { "x-error-code": "RepoNotFound" }]
}

/** The commit of a branch. */
export const shaOf = (branch: string): string => createHash("sha1").update(branch).digest("hex")

const listening = (answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer(answer)
    server.listen(0, "127.0.0.1", () => resolve(server))
  })
const originOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on TCP
