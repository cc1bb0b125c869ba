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
    if (!passes || attempt >= ATTEMPTS || pause > LONGEST_WAIT)
      throw refused(settings, response, asked, { attempts: attempt, pause })
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

/** How hard it was tried: `pause` is what would have been waited next, in ms. */
interface Tried {
  readonly attempts: number
  readonly pause: number
}
const refused = (
  settings: HubSettings,
  { status, headers }: Response,
  { what, page }: Asked,
  { attempts, pause }: Tried
): HubError => {
  const code = headers.get("x-error-code") ?? ""
  const { endpoint } = settings
  const make = (reason: HubError["reason"], message: string) =>
    new HubError({ message: `${what}: ${message}`, what, reason })
  if (status === 401 && /invalid credentials/i.test(headers.get("x-error-message") ?? "")) {
    return make(
      "unauthorized",
      `${endpoint} does not know the token (401), which is HF_TOKEN or what \`hf auth login\` has kept. Make a new one at ${endpoint}/settings/tokens, or unset it for what is public`
    )
  }
  if (code === "GatedRepo" || status === 403) {
    const why = settings.token === undefined ? "no token was given" : "the account of the token has none"
    return make(
      "gated",
      `access is asked for at ${page}, and ${why} (${status}). Once it is granted, set HF_TOKEN to a token of that account (${endpoint}/settings/tokens)`
    )
  }
  if (status === 401) {
    const token = settings.token === undefined ? "no token was given" : "the token was not enough"
    return make(
      "unauthorized",
      `there is none of this name at ${endpoint}, or it is private and ${token} (401). Check the name; for a private one set HF_TOKEN (${endpoint}/settings/tokens)`
    )
  }
  if (status === 404) {
    const absent =
      code === "RevisionNotFound"
        ? "it has no such revision"
        : code === "EntryNotFound"
          ? "it has no such file"
          : `there is none of this name${settings.token === undefined ? "" : ", or it is private and not for the account of the token,"}`
    return make("not-found", `${absent} at ${endpoint} (404). Check the name at ${page}`)
  }
  const asks = pause > LONGEST_WAIT ? ` It asks to wait ${Math.ceil(pause / 60_000)} minutes.` : ""
  const made = `${attempts} ${attempts === 1 ? "attempt was" : "attempts were"} made.${asks}`
  if (status === 429) {
    const more = settings.token === undefined ? ", or set HF_TOKEN: more are allowed to who is known" : ""
    return make("rate-limited", `${endpoint} takes no more requests for now (429); ${made} Try again later${more}`)
  }
  return make("server", `${endpoint} answers with ${status}; ${made} Try again later`)
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
