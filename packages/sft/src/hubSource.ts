/**
 * A data set of the Hugging Face Hub: `org/name[:split][@revision]`, where a split may be `config/split`. Its files of rows are
 * those that the README's `configs` name, or that say the split in their path, as the library `datasets` finds them
 * (datasets/data_files.py); where it has none that can be read here, the Hub's own copy in Parquet (refs/convert/parquet).
 */
import { readFile } from "node:fs/promises"
import { bytesToFetch, fetchFile, HubError, type HubRepo, hubSettings, isRepoId, openRepo } from "@graft/hub"
import { type NotEnoughDisk, requireSpace } from "@graft/safetensors"
import { Effect, Schema } from "effect"
import * as Yaml from "effect/encoding/Yaml"
import { UnreadableData } from "./DataError.ts"
import { pathPattern } from "./globPattern.ts"

export interface HubSource {
  readonly id: string
  readonly config: string | undefined
  readonly split: string
  readonly revision: string | undefined
}

const form = /^(?:hf:\/\/datasets\/)?([^:@]+)(?::([\w.-]+)(?:\/([\w.-]+))?)?(?:@([^@]+))?$/

export const hubSource = (path: string): HubSource | undefined => {
  const [, id, first, second, revision] = form.exec(path) ?? []
  if (id === undefined || !isRepoId(id)) return undefined
  const split = second ?? first ?? "train"
  return { id, config: second === undefined ? undefined : first, split, revision }
}

export interface HubFile {
  /** What messages call it. */
  readonly name: string
  readonly fetch: () => Promise<string>
}

/**
 * The files of the split, in order, once the disk has room for what of them is still to be fetched. `endings` are those of
 * files that can be read, without dots.
 */
export const hubFiles = async (
  source: HubSource,
  endings: ReadonlyArray<string>,
  signal?: AbortSignal
): Promise<ReadonlyArray<HubFile>> => {
  const settings = hubSettings()
  const { id, revision } = source
  const run = <A>(effect: Effect.Effect<A, HubError | NotEnoughDisk>): Promise<A> =>
    Effect.runPromise(effect, signal === undefined ? {} : { signal }).catch((error: unknown) => {
      throw error instanceof HubError ? new UnreadableData({ file: id, problem: problemOf(id, error) }) : error
    })
  const open = (of: string | undefined) => run(openRepo({ kind: "dataset", id, revision: of }, settings))
  const filesOf = async (repo: HubRepo, files: ReadonlyArray<string>): Promise<ReadonlyArray<HubFile>> => {
    const bytes = await run(bytesToFetch(repo, files))
    const cure = "make room, or set HF_HOME to a folder on another disk"
    await run(requireSpace([{ path: settings.cache, bytes, what: `the data set ${id}` }], cure))
    return files.map((file) => ({ name: `${id}/${file}`, fetch: () => run(fetchFile(repo, file)) }))
  }

  const repo = await open(revision)
  const card = repo.files.includes("README.md") ? await readFile(await run(fetchFile(repo, "README.md")), "utf8") : ""
  const readable = repo.files.filter((file) => endings.includes(file.split(".").at(-1)?.toLowerCase() ?? ""))
  const chosen = chooseFiles(source, readable, configsOf(card))
  if (typeof chosen !== "string") {
    requireAll(repo, chosen)
    return filesOf(repo, chosen)
  }
  if (readable.length > 0 || revision !== undefined) throw new UnreadableData({ file: id, problem: chosen })
  const copy = await open("refs/convert/parquet").catch((error: unknown) => {
    throw error instanceof UnreadableData ? new UnreadableData({ file: id, problem: chosen }) : error
  })
  const parquet = chooseFiles(
    source,
    copy.files.filter((file) => file.endsWith(".parquet")),
    convertedConfigs(copy.files)
  )
  if (typeof parquet === "string") throw new UnreadableData({ file: id, problem: parquet })
  requireAll(copy, parquet)
  return filesOf(copy, parquet)
}

const problemOf = (id: string, { message, reason }: HubError): string => {
  const said = message.startsWith(`${id}: `) ? message.slice(id.length + 2) : message
  return reason === "unauthorized" || reason === "not-found"
    ? `there is no such file or folder here, and as a data set of the Hub: ${said}`
    : said
}

export interface DataConfig {
  readonly name: string
  /** Patterns of paths by split. */
  readonly splits: ReadonlyMap<string, ReadonlyArray<string>>
  readonly isDefault: boolean
}

const Patterns = Schema.Union([Schema.String, Schema.Array(Schema.String)])
const Card = Schema.Struct({
  configs: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        config_name: Schema.optionalKey(Schema.String),
        default: Schema.optionalKey(Schema.Boolean),
        data_files: Schema.optionalKey(
          Schema.Union([
            Schema.String,
            Schema.Array(Schema.Union([Schema.String, Schema.Struct({ split: Schema.String, path: Patterns })]))
          ])
        )
      })
    )
  )
})
const isCard = Schema.is(Card)

/** The YAML at the head of a README. One that says nothing about files, or in another way, counts as none. */
export const configsOf = (readme: string): ReadonlyArray<DataConfig> => {
  const [, head] = /^\ufeff?---\r?\n([\s\S]*?)\r?\n---/.exec(readme) ?? []
  if (head === undefined) return []
  let card: unknown
  try {
    card = Yaml.parse(head)
  } catch {
    return []
  }
  if (!isCard(card)) return []
  return (card.configs ?? []).flatMap(
    ({ config_name: name = "default", default: isDefault = false, data_files: files }) => {
      if (files === undefined) return []
      const splits = new Map<string, Array<string>>()
      for (const entry of typeof files === "string" ? [files] : files) {
        const { split, path } = typeof entry === "string" ? { split: "train", path: entry } : entry
        splits.set(split, [...(splits.get(split) ?? []), ...(typeof path === "string" ? [path] : path)])
      }
      return [{ name, splits, isDefault }]
    }
  )
}

/** `config/split/0000.parquet`, and `config/partial-split/…` where only the first 5 GB were converted. */
const convertedConfigs = (files: ReadonlyArray<string>): ReadonlyArray<DataConfig> => {
  const configs = new Map<string, Map<string, ReadonlyArray<string>>>()
  for (const file of files) {
    const [config, folder, name, ...rest] = file.split("/")
    if (name === undefined || config === undefined || folder === undefined || rest.length > 0) continue
    const splits = configs.get(config) ?? new Map<string, ReadonlyArray<string>>()
    configs.set(config, splits.set(folder, [`${config}/${folder}/*.parquet`]))
  }
  return [...configs].map(([name, splits]) => ({ name, splits, isDefault: name === "default" }))
}

/** Words for a split in a path (datasets/data_files.py). */
const words: Readonly<Record<string, ReadonlyArray<string>>> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "dev", "val"],
  test: ["test", "testing", "eval", "evaluation"]
}
const splitWords = Object.values(words).flat()
const splitOfPath = (file: string): string | undefined => {
  const found = splitWords.find((word) => new RegExp(`(^|[^a-z])${word}([^a-z]|$)`, "i").test(file))
  return Object.keys(words).find((split) => found !== undefined && words[split]!.includes(found))
}

/** The files, or what is wrong. */
export const chooseFiles = (
  { config: wanted, split }: HubSource,
  files: ReadonlyArray<string>,
  configs: ReadonlyArray<DataConfig>
): ReadonlyArray<string> | string => {
  if (files.length === 0) return "the data set holds no file of rows that can be read here"
  if (configs.length > 0) {
    const config =
      wanted === undefined
        ? (configs.find(({ isDefault }) => isDefault) ??
          configs.find(({ name }) => name === "default") ??
          only(configs))
        : configs.find(({ name }) => name === wanted)
    if (config === undefined) {
      const names = configs.map(({ name }) => name).join(", ")
      return wanted === undefined
        ? `it has the configurations ${names}; name one, as in :${configs[0]!.name}/${split}`
        : `it has no configuration ${wanted}, but ${names}`
    }
    const patterns = config.splits.get(split)
    if (patterns === undefined) return noSplit(split, [...config.splits.keys()])
    const found = files.filter((file) => patterns.some((pattern) => pathPattern(pattern.replace(/^\.\//, ""))(file)))
    return found.length > 0 ? found : `no file that can be read matches ${patterns.join(", ")}`
  }
  const within = wanted === undefined ? files : files.filter((file) => file.split("/").slice(0, -1).includes(wanted))
  if (within.length === 0) return `it has no configuration ${wanted}`
  const named = within.filter((file) => splitOfPath(file) !== undefined)
  if (named.length === 0) return split === "train" ? within : noSplit(split, ["train"])
  const same = (file: string) =>
    splitOfPath(file) === (Object.keys(words).find((key) => words[key]!.includes(split)) ?? split)
  const found = named.filter(same)
  return found.length > 0 ? found : noSplit(split, [...new Set(named.map((file) => splitOfPath(file)!))])
}

const only = <A>(list: ReadonlyArray<A>): A | undefined => (list.length === 1 ? list[0] : undefined)
const noSplit = (split: string, there: ReadonlyArray<string>): string =>
  `it has no split ${split}, but ${there.join(", ")}; name one, as in :${there[0]}`

/** The cache may hold some of the parts only: training on these in silence would be wrong. */
const requireAll = ({ fromCache, id }: HubRepo, files: ReadonlyArray<string>): void => {
  if (!fromCache) return
  for (const file of files) {
    const [, stem, , count] = /^(.*)-(\d{5})-of-(\d{5})\b/.exec(file) ?? []
    const there = files.filter((other) => other.startsWith(`${stem}-`)).length
    if (count !== undefined && there < Number(count)) {
      throw new UnreadableData({
        file: id,
        problem: `the cache holds ${there} of the ${Number(count)} parts of ${stem}, and the Hub is not asked; run once with a network`
      })
    }
  }
}
