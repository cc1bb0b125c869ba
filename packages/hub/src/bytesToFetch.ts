/** What of a repository's files the cache does not hold yet: what a disk must have room for before they are fetched. */
import { stat } from "node:fs/promises"
import { Effect } from "effect"
import type { HubError } from "./HubError.ts"
import { isThere, lookUp, partOf, placeOf } from "./lookUp.ts"
import { asHubError, type HubRepo } from "./openRepo.ts"

/** Requests under way at one time. */
const AT_ONCE = 8

/** Bytes; what a download that broke off has left counts as there. Fails with HubError. */
export const bytesToFetch = (repo: HubRepo, files: ReadonlyArray<string>): Effect.Effect<number, HubError> =>
  Effect.map(
    Effect.forEach(
      files,
      (file) =>
        Effect.tryPromise({
          try: (signal) => missing(repo, file, signal),
          catch: (error) => asHubError(`${repo.id}/${file}`, error)
        }),
      { concurrency: AT_ONCE }
    ),
    (bytes) => bytes.reduce((sum, one) => sum + one, 0)
  )

const missing = async (repo: HubRepo, file: string, signal: AbortSignal): Promise<number> => {
  if (repo.settings.offline || (await isThere(placeOf(repo, file)))) return 0
  const remote = await lookUp(repo, file, { ...repo.asked, what: `${repo.id}/${file}`, signal })
  if (await isThere(remote.blob)) return 0
  const begun = await stat(partOf(remote)).then(
    ({ size }) => size,
    () => 0
  )
  return begun > remote.size ? remote.size : remote.size - begun
}
