/**
 * The model that a flag names: a folder or a file of this machine, or one of the Hub, `org/name[@revision][:file.gguf]`,
 * fetched into the cache that huggingface_hub uses. Of a repository only what a model is read from is fetched.
 */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { basename, dirname } from "node:path"
import { fetchFile, type HubError, type HubRepo, isRepoId, openRepo } from "@graft/hub"
import { openModel } from "@graft/llama-loader"
import { fileError, parseShardIndex, SafetensorsError } from "@graft/safetensors"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { bytes } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"

/** Files of a repository on their way at one time. */
const AT_ONCE = 4
const WEIGHTS = "model.safetensors"
const INDEX = "model.safetensors.index.json"
const TEXTS = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "tokenizer.model",
  "added_tokens.json",
  "chat_template.jinja"
]

export const openNamed = Effect.fnUntraced(function* (name: string, screen?: Screen) {
  const wanted = existsSync(name) ? undefined : hubName(name)
  if (wanted === undefined) return yield* openModel(name)
  const path = yield* fetchModel(wanted, screen)
  const model = yield* openModel(path)
  // The cache calls a folder by its commit.
  const description = model.description.replace(basename(path), name)
  return { ...model, description, hub: { id: wanted.id, revision: wanted.revision } }
})

interface HubName {
  readonly id: string
  readonly revision: string | undefined
  readonly file: string | undefined
}
const hubName = (name: string): HubName | undefined => {
  const [, id = "", revision, file] = /^([^@:]+)(?:@([^:]+))?(?::(.+))?$/.exec(name) ?? []
  // What looks like a path that is not there is a typing mistake, not a model of the Hub.
  return isRepoId(id) && !/\.(gguf|safetensors|json)$/.test(id) ? { id, revision, file } : undefined
}

/** The folder or the GGUF, whole and on this machine. */
const fetchModel = Effect.fnUntraced(function* ({ id, revision, file }: HubName, screen?: Screen) {
  const repo = yield* openRepo({ kind: "model", id, revision })
  const fetch = fetcher(repo, screen)
  if (file !== undefined) {
    const parts = partsOf(file, repo.files)
    const [first = ""] = yield* fetch(parts)
    return first
  }
  if (!repo.files.includes("config.json")) return yield* noConfig(repo)
  const [config = ""] = yield* fetch(TEXTS.filter((one) => repo.files.includes(one)))
  if (repo.files.includes(WEIGHTS)) yield* fetch([WEIGHTS])
  else if (repo.files.includes(INDEX)) {
    const [index = ""] = yield* fetch([INDEX])
    const text = yield* Effect.tryPromise({
      try: () => readFile(index, "utf8"),
      catch: (cause) => fileError(index, "read", cause)
    })
    const shards = yield* Effect.try({
      try: () => [...new Set(parseShardIndex(index, text).values())].sort(),
      catch: (cause) => (cause instanceof SafetensorsError ? cause : fileError(index, "read", cause))
    })
    yield* fetch(shards)
  } else
    return yield* new InvalidInput({
      message: `${id} has neither ${WEIGHTS} nor ${INDEX}; Graft reads safetensors and GGUF, so take a repository that has one of them`
    })
  return dirname(config)
})

const noConfig = ({ id, files }: HubRepo): Effect.Effect<never, InvalidInput> => {
  const ggufs = files.filter((one) => one.endsWith(".gguf"))
  const message =
    ggufs.length > 0
      ? `${id} holds GGUF files; say which, as in --model ${id}:${ggufs[0]}. There are ${ggufs.join(", ")}`
      : `${id} has no config.json: it is no model that Graft reads`
  return Effect.fail(new InvalidInput({ message }))
}

/** A GGUF in parts is fetched whole. */
const partsOf = (file: string, files: ReadonlyArray<string>): ReadonlyArray<string> => {
  const stem = /^(.*)-\d{5}(-of-\d{5}\.gguf)$/.exec(file)
  if (stem === null) return [file]
  const others = files.filter((one) => one !== file && one.startsWith(`${stem[1]}-`) && one.endsWith(stem[2] ?? ""))
  return [file, ...others]
}

/** Paths of the files, in order; one line tells how far all of them are. */
const fetcher = (repo: HubRepo, screen?: Screen) => {
  const seen = new Map<string, readonly [done: number, total: number]>()
  const tell = (): void => {
    const [done, total] = [...seen.values()].reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0])
    screen?.live(`fetching ${repo.id}  ${bytes(done)} of ${bytes(total)}`)
  }
  return (files: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, HubError> =>
    Effect.forEach(
      files,
      (file) =>
        fetchFile(repo, file, {
          onProgress: (done, total) => {
            seen.set(file, [done, total])
            tell()
          }
        }),
      { concurrency: AT_ONCE }
    ).pipe(Effect.tap(() => Effect.sync(() => screen?.live(""))))
}
