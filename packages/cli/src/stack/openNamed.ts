/**
 * The model that a flag names: a folder or a file of this machine, or one of the Hub, `org/name[@revision][:file.gguf]`,
 * fetched into the cache that huggingface_hub uses. Of a repository only what a model is read from is fetched.
 */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { basename, dirname } from "node:path"
import { bytesToFetch, fetchFile, type HubError, type HubRepo, isRepoId, openRepo } from "@graft/hub"
import { type OpenedModel, openFolderShapes, openModel } from "@graft/llama-loader"
import { fileError, type Need, parseShardIndex, requireSpace, SafetensorsError } from "@graft/safetensors"
import { Effect } from "effect"
import { InvalidInput } from "../problems.ts"
import { bytes } from "../show/quantities.ts"
import type { Screen } from "../show/Screen.ts"

/** Files of a repository on their way at one time. */
const AT_ONCE = 4
const WEIGHTS = "model.safetensors"
const INDEX = "model.safetensors.index.json"
const TEXTS = [
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
  return named(name, wanted, yield* openModel(path))
})

/** A model of which only the shapes may be there. */
export interface Described {
  readonly model: OpenedModel
  /** Left out where all of it is there. */
  readonly toFetch: Need | undefined
}
/**
 * The same for a plan, which needs no weights: where a repository's are not in the cache, its shapes, and what there would be to
 * fetch.
 */
export const openNamedShapes = Effect.fnUntraced(function* (name: string, screen?: Screen) {
  const whole = Effect.map(openNamed(name, screen), (model): Described => ({ model, toFetch: undefined }))
  const wanted = existsSync(name) ? undefined : hubName(name)
  if (wanted === undefined || wanted.file !== undefined) return yield* whole
  const { repo, config, weights } = yield* describeRepo(wanted)
  const texts = textsOf(repo)
  const bytes = yield* bytesToFetch(repo, [...texts, ...weights])
  yield* fetcher(repo)(texts)
  const shapes = yield* openFolderShapes(dirname(config))
  // A quantised checkpoint is not of the shapes that its config says.
  if (bytes === 0 || shapes.config.quantization !== undefined) return yield* whole
  const toFetch: Need = { path: repo.settings.cache, bytes, what: fetched(repo) }
  return { model: named(name, wanted, shapes), toFetch } satisfies Described
})

/** The cache calls a folder by its commit. */
const named = (name: string, { id, revision }: HubName, model: OpenedModel): OpenedModel => ({
  ...model,
  description: model.description.replace(basename(model.path), name),
  hub: { id, revision }
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

/** The folder or the GGUF, whole and on this machine. The disk is asked before the weights are begun. */
const fetchModel = Effect.fnUntraced(function* (wanted: HubName, screen?: Screen) {
  if (wanted.file !== undefined) {
    const repo = yield* openRepo({ kind: "model", ...wanted })
    const parts = partsOf(wanted.file, repo.files)
    yield* requireRoom(repo, parts)
    const [first = ""] = yield* fetcher(repo, screen)(parts)
    return first
  }
  const { repo, config, weights } = yield* describeRepo(wanted, screen)
  const files = [...textsOf(repo), ...weights]
  yield* requireRoom(repo, files)
  yield* fetcher(repo, screen)(files)
  return dirname(config)
})

/** A repository with its config fetched, and the names of its files of weights. */
const describeRepo = Effect.fnUntraced(function* ({ id, revision }: HubName, screen?: Screen) {
  const repo = yield* openRepo({ kind: "model", id, revision })
  if (!repo.files.includes("config.json")) return yield* noConfig(repo)
  const fetch = fetcher(repo, screen)
  const [config = ""] = yield* fetch(["config.json"])
  return { repo, config, weights: yield* weightsOf(repo, fetch) }
})
const textsOf = ({ files }: HubRepo): ReadonlyArray<string> => TEXTS.filter((one) => files.includes(one))

/** The files of the weights. */
const weightsOf = Effect.fnUntraced(function* (repo: HubRepo, fetch: ReturnType<typeof fetcher>) {
  if (repo.files.includes(WEIGHTS)) return [WEIGHTS]
  if (!repo.files.includes(INDEX))
    return yield* new InvalidInput({
      message: `${repo.id} has neither ${WEIGHTS} nor ${INDEX}; Graft reads safetensors and GGUF, so take a repository that has one of them`
    })
  const [index = ""] = yield* fetch([INDEX])
  const text = yield* Effect.tryPromise({
    try: () => readFile(index, "utf8"),
    catch: (cause) => fileError(index, "read", cause)
  })
  return yield* Effect.try({
    try: () => [...new Set(parseShardIndex(index, text).values())].sort(),
    catch: (cause) => (cause instanceof SafetensorsError ? cause : fileError(index, "read", cause))
  })
})

const requireRoom = (repo: HubRepo, files: ReadonlyArray<string>) =>
  Effect.flatMap(bytesToFetch(repo, files), (missing) =>
    requireSpace(
      [{ path: repo.settings.cache, bytes: missing, what: fetched(repo) }],
      "make room, or set HF_HOME to a folder on another disk"
    )
  )

const fetched = ({ id }: HubRepo): string => `what is to be fetched of ${id}`

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
