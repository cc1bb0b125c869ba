/**
 * Requests to the Hub: the token goes to its own origin only, what may pass (429, 5xx, a broken connection) is tried again after
 * a growing wait or the one that the server names, and what will not pass becomes an error that says what to do.
 */
import { HubError } from "./HubError.ts"
import type { HubSettings } from "./HubSettings.ts"

export interface Asked {
  /** `org/name`, for messages. */
  readonly what: string
  /** The page where a person finds it. */
  readonly page: string
  readonly signal?: AbortSignal | undefined
}

const ATTEMPTS = 5
const REDIRECTS = 10
/** A server that names a longer wait than this is not waited for, in ms. */
const LONGEST_WAIT = 120_000
/** A connection that gives nothing for so long is broken, in ms. */
export const STALLED = 60_000

export interface RequestOptions {
  readonly method?: "GET" | "HEAD"
  readonly headers?: Readonly<Record<string, string>>
  /** An answer at which to stop instead of going where it points. */
  readonly stopAt?: (response: Response) => boolean
  /** Statuses that the caller understands, besides success. */
  readonly expected?: ReadonlyArray<number>
}

export const hubRequest = async (
  settings: HubSettings,
  url: string,
  asked: Asked,
  options: RequestOptions = {}
): Promise<Response> => {
  for (let attempt = 1; ; attempt++) {
    let response: Response
    try {
      response = await followed(settings, url, asked, options)
    } catch (cause) {
      asked.signal?.throwIfAborted()
      if (cause instanceof HubError) throw cause
      if (attempt < ATTEMPTS) {
        await wait(settings.backOff * 2 ** (attempt - 1), asked.signal)
        continue
      }
      throw new HubError({
        message: `${asked.what}: ${settings.endpoint} cannot be reached (${reasonOf(cause)}). Check the network, HF_ENDPOINT and proxies; with HF_HUB_OFFLINE=1 what the cache holds is used`,
        what: asked.what,
        reason: "network"
      })
    }
    if (response.ok || options.expected?.includes(response.status) || options.stopAt?.(response)) return response
    await response.body?.cancel()
    const passes = response.status === 429 || response.status >= 500
    const pause = waitNamed(response) ?? settings.backOff * 2 ** (attempt - 1)
    if (!passes || attempt >= ATTEMPTS || pause > LONGEST_WAIT) throw refused(settings, response, asked)
    await wait(pause, asked.signal)
  }
}

const followed = async (
  settings: HubSettings,
  first: string,
  { signal, what }: Asked,
  { method = "GET", headers = {}, stopAt }: RequestOptions
): Promise<Response> => {
  const home = new URL(settings.endpoint).origin
  let url = first
  for (let hop = 0; hop <= REDIRECTS; hop++) {
    // A token in a request to a storage host would be shown to strangers, and is refused there besides.
    const own = new URL(url).origin === home && settings.token !== undefined
    const silent = new AbortController()
    const timer = setTimeout(() => silent.abort(new Error("the server says nothing")), STALLED)
    const response = await fetch(url, {
      method,
      redirect: "manual",
      headers: {
        "accept-encoding": "identity",
        ...headers,
        ...(own ? { authorization: `Bearer ${settings.token}` } : {})
      },
      signal: signal === undefined ? silent.signal : AbortSignal.any([silent.signal, signal])
    }).finally(() => clearTimeout(timer))
    const location = response.headers.get("location")
    if (response.status < 300 || response.status >= 400 || location === null || stopAt?.(response)) return response
    await response.body?.cancel()
    url = new URL(location, url).href
    if (!/^https?:/.test(url)) break
  }
  throw new HubError({ message: `${what}: the server redirects without an end`, what, reason: "server" })
}

/** Milliseconds that the server asks to wait: `Retry-After` in seconds or as a date, or `t=` of the Hub's `RateLimit`. */
const waitNamed = ({ headers }: Response): number | undefined => {
  const after = headers.get("retry-after")
  if (after !== null && after.trim() !== "") {
    const seconds = Number(after)
    const pause = Number.isFinite(seconds) ? 1000 * seconds : Date.parse(after) - Date.now()
    if (Number.isFinite(pause)) return Math.max(0, pause)
  }
  const [, reset] = /\bt=(\d+)/.exec(headers.get("ratelimit") ?? "") ?? []
  return reset === undefined ? undefined : 1000 * Number(reset)
}

const refused = (settings: HubSettings, { status, headers }: Response, { what, page }: Asked): HubError => {
  const code = headers.get("x-error-code") ?? ""
  const token = settings.token === undefined ? "no token was given" : "the token was not enough"
  const make = (reason: HubError["reason"], message: string) =>
    new HubError({ message: `${what}: ${message}`, what, reason })
  if (code === "GatedRepo" || status === 403) {
    return make(
      "gated",
      `access is asked for at ${page} (${token}). Once it is granted, set HF_TOKEN to a token of that account`
    )
  }
  if (status === 401) {
    return make(
      "unauthorized",
      `there is none of this name at ${settings.endpoint}, or it is private and ${token}. Check the name; for a private one set HF_TOKEN (${settings.endpoint}/settings/tokens)`
    )
  }
  if (status === 404) {
    const absent =
      code === "RevisionNotFound"
        ? "it has no such revision"
        : code === "EntryNotFound"
          ? "it has no such file"
          : "there is none of this name"
    return make("not-found", `${absent} at ${settings.endpoint}. Check the name at ${page}`)
  }
  if (status === 429) {
    return make(
      "rate-limited",
      `${settings.endpoint} takes no more requests for now (429); ${ATTEMPTS} attempts were made. Wait some minutes, or set HF_TOKEN: more are allowed to who is known`
    )
  }
  return make(
    "server",
    `${settings.endpoint} answers with ${status}; ${ATTEMPTS} attempts were made where that could help. Try again later`
  )
}

export const wait = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop)
      resolve()
    }, ms)
    if (signal?.aborted) stop()
    else signal?.addEventListener("abort", stop, { once: true })
  })

export const reasonOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  const inner = cause.cause instanceof Error ? cause.cause.message : ""
  return inner === "" || cause.message.includes(inner) ? cause.message : `${cause.message}: ${inner}`
}
