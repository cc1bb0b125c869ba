/**
 * Where the Hub is and who asks, from the environment variables of huggingface_hub (huggingface_hub/constants.py): HF_ENDPOINT,
 * HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
 */
import { readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { env } from "node:process"

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string
  readonly token: string | undefined
  /** The folder of `datasets--org--name` and `models--org--name`. */
  readonly cache: string
  /** Only what the cache holds. */
  readonly offline: boolean
  /** What the first wait before another attempt takes, in ms; each further one is twice as long. */
  readonly backOff: number
}

/** `variables` is the process's environment unless given. */
export const hubSettings = (variables: Readonly<Record<string, string | undefined>> = env): HubSettings => {
  const given = (...names: ReadonlyArray<string>) => names.map((name) => variables[name]).find((value) => value?.trim())
  const home = given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface")
  return {
    endpoint: (given("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, ""),
    token:
      given("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")?.trim() ?? tokenOf(given("HF_TOKEN_PATH") ?? join(home, "token")),
    cache: given("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
    offline: /^(1|on|yes|true)$/i.test(given("HF_HUB_OFFLINE") ?? ""),
    backOff: 1000
  }
}

/** As `hf auth login` leaves it. */
const tokenOf = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8").trim() || undefined
  } catch {
    return undefined // nobody has logged in
  }
}
