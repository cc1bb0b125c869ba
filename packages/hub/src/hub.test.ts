import assert from "node:assert/strict"
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, describe, test } from "node:test"
import { Effect } from "effect"
import { bytesToFetch } from "./bytesToFetch.ts"
import { type FakeHub, type FakeRepo, fakeHub, shaOf } from "./fakeHub.ts"
import { fetchFile } from "./fetchFile.ts"
import type { HubError } from "./HubError.ts"
import { type HubSettings, hubSettings } from "./HubSettings.ts"
import { isRepoId, openRepo } from "./openRepo.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-hub-"))
after(() => rmSync(folder, { recursive: true }))

const large = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)
const repos: Readonly<Record<string, FakeRepo>> = {
  "datasets/org/rows": {
    files: { "README.md": "hello", "data/train.jsonl": '{"text":"a"}\n', "big file.bin": large },
    largeFrom: 1000,
    branches: { "refs/convert/parquet": { "default/train/0000.parquet": "PAR1" }, v2: { "x.txt": "two" } }
  },
  "models/org/private": { files: { "config.json": "{}" }, token: "secret" },
  "models/org/gated": { files: { "config.json": "{}" }, token: "secret", gated: true, strangers: ["known"] },
  "models/org/huge": { files: { "config.json": "{}", "a.bin": "a", "b.bin": "b" }, claims: { "b.bin": 1e15 } }
}
let caches = 0
const withHub = async (
  use: (hub: FakeHub, settings: HubSettings) => Promise<void>,
  variables: Readonly<Record<string, string>> = {}
): Promise<void> => {
  await using hub = await fakeHub(repos)
  const home = join(folder, `home${caches++}`)
  const settings = hubSettings({ HF_ENDPOINT: hub.endpoint, HF_HOME: home, ...variables })
  await use(hub, { ...settings, backOff: 2 })
}
const rows = { kind: "dataset", id: "org/rows" } as const
const fetchOne = (settings: HubSettings, file: string, repo: Parameters<typeof openRepo>[0] = rows) =>
  Effect.runPromise(Effect.flatMap(openRepo(repo, settings), (opened) => fetchFile(opened, file)))
const failure = (effect: Effect.Effect<unknown, HubError>) => Effect.runPromise(Effect.flip(effect))

test("settings are those of huggingface_hub", () => {
  writeFileSync(join(folder, "token"), "kept\n")
  const of = hubSettings
  assert.equal(of({ HF_HOME: folder }).token, "kept")
  assert.equal(of({ HF_HOME: folder, HF_TOKEN: "given" }).token, "given")
  assert.equal(of({ HF_HOME: "/h" }).cache, join("/h", "hub"))
  assert.equal(of({ HF_HOME: "/h", HF_HUB_CACHE: "/c" }).cache, "/c")
  assert.equal(of({ XDG_CACHE_HOME: "/x" }).cache, join("/x", "huggingface", "hub"))
  assert.equal(of({}).endpoint, "https://huggingface.co")
  assert.equal(of({ HF_ENDPOINT: "http://mirror/" }).endpoint, "http://mirror")
  assert.deepEqual(
    ["1", "ON", "true", "0", ""].map((value) => of({ HF_HUB_OFFLINE: value }).offline),
    [true, true, true, false, false]
  )
})

test("a file comes into the cache as huggingface_hub lays it out, and once", () =>
  withHub(async (hub, settings) => {
    const path = await fetchOne(settings, "data/train.jsonl")
    const home = join(settings.cache, "datasets--org--rows")
    assert.equal(path, join(home, "snapshots", shaOf("main"), "data", "train.jsonl"))
    assert.equal(readFileSync(path, "utf8"), '{"text":"a"}\n')
    assert.equal(readFileSync(join(home, "refs", "main"), "utf8"), shaOf("main"))
    assert.ok(lstatSync(path).isSymbolicLink())
    assert.match(readlinkSync(path).replaceAll("\\", "/"), /^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
    const before = hub.requests.length
    await fetchOne(settings, "data/train.jsonl")
    assert.equal(hub.requests.length, before + 1, "the revision is asked for again, the file is not")
  }))

test("large files come from the storage host, which never sees the token", () =>
  withHub(
    async (hub, settings) => {
      const path = await fetchOne(settings, "big file.bin")
      assert.deepEqual(new Uint8Array(readFileSync(path)), large)
      const [storage] = hub.requests.filter((request) => request.path.startsWith("storage"))
      assert.equal(storage?.headers.authorization, undefined)
      assert.ok(hub.requests.some((request) => request.headers.authorization === "Bearer mine"))
    },
    { HF_TOKEN: "mine" }
  ))

test("branches, tags and commits; a revision's name may have slashes", () =>
  withHub(async (_, settings) => {
    const two = await fetchOne(settings, "x.txt", { ...rows, revision: "v2" })
    assert.equal(readFileSync(two, "utf8"), "two")
    assert.equal(await fetchOne(settings, "x.txt", { ...rows, revision: shaOf("v2") }), two)
    const parquet = { ...rows, revision: "refs/convert/parquet" }
    await fetchOne(settings, "default/train/0000.parquet", parquet)
    assert.ok(existsSync(join(settings.cache, "datasets--org--rows", "refs", "refs", "convert", "parquet")))
    const none = await failure(openRepo({ ...rows, revision: "v3" }, settings))
    assert.match(none.message, /org\/rows: it has no such revision at http/)
  }))

describe("what broke off goes on where it stopped", () => {
  for (const cuts of [[1], [100_000], [299_999], [10, 20, 30, 40, 50, 60, 70], [0, 0, 5]])
    test(`after ${cuts.join(", ")} bytes`, () =>
      withHub(async (hub, settings) => {
        hub.breakAfter(...cuts)
        assert.deepEqual(new Uint8Array(readFileSync(await fetchOne(settings, "big file.bin"))), large)
        const ranges = hub.requests.flatMap(({ headers }) => headers.range ?? [])
        assert.ok(ranges.length >= cuts.filter((bytes) => bytes > 0).length, ranges.join())
      }))
  test("in another process: what is there is not fetched again, and a file that never comes is an error", () =>
    withHub(async (hub, settings) => {
      hub.breakAfter(120_000, 0, 0, 0, 0, 0)
      const error = await failure(Effect.flatMap(openRepo(rows, settings), (repo) => fetchFile(repo, "big file.bin")))
      assert.equal(error.reason, "network")
      assert.match(error.message, /breaks off at 120000 of 300000 bytes .*it goes on from there/)
      assert.deepEqual(new Uint8Array(readFileSync(await fetchOne(settings, "big file.bin"))), large)
      assert.equal(hub.requests.at(-1)!.headers.range, "bytes=120000-")
    }))
})

test("bytes that are not those of the hash are fetched anew once, then refused", () =>
  withHub(async (hub, settings) => {
    hub.damage(1)
    assert.deepEqual(new Uint8Array(readFileSync(await fetchOne(settings, "big file.bin"))), large)
    hub.damage(2)
    const error = await failure(Effect.flatMap(openRepo(rows, settings), (repo) => fetchFile(repo, "README.md")))
    assert.equal(error.reason, "damaged")
    assert.ok(!existsSync(join(settings.cache, "datasets--org--rows", "snapshots", shaOf("main"), "README.md")))
  }))

describe("a file that changes under a resumed download", () => {
  const begun = async (changed: Uint8Array, prepare: (hub: FakeHub) => void = () => {}): Promise<HubError> => {
    let error: HubError | undefined
    await withHub(async (hub, settings) => {
      prepare(hub)
      hub.breakAfter(120_000)
      hub.changeTo(changed)
      error = await failure(Effect.flatMap(openRepo(rows, settings), (repo) => fetchFile(repo, "big file.bin")))
      assert.ok(!existsSync(join(settings.cache, "datasets--org--rows", "snapshots", shaOf("main"), "big file.bin")))
    })
    return error!
  }
  test("to one of another size: said at once", async () => {
    for (const size of [200_000, 400_000]) {
      const error = await begun(new Uint8Array(size))
      assert.equal(error.reason, "damaged")
      assert.match(error.message, new RegExp(`changed while it was fetched: 300000 bytes were announced.* has ${size}`))
    }
  })
  test("to one of the same size: the hash shows it", async () => {
    const error = await begun(large.map((byte) => byte ^ 1))
    assert.match(error.message, /big file\.bin: the bytes that came have the hash/)
  })
  test("to a shorter one by a server that tells no sizes: it ends", async () => {
    const error = await begun(new Uint8Array(110_000), (hub) => hub.hideSizes())
    assert.match(error.message, /changed while it was fetched|breaks off/)
  })
})

test("what is to be fetched is known before: what is there, whole or in part, is not counted", () =>
  withHub(async (hub, settings) => {
    const toFetch = (files: ReadonlyArray<string>, of = settings) =>
      Effect.runPromise(Effect.flatMap(openRepo(rows, of), (repo) => bytesToFetch(repo, files)))
    const both = ["data/train.jsonl", "big file.bin"]
    assert.equal(await toFetch(both), 13 + 300_000)
    await fetchOne(settings, "data/train.jsonl")
    assert.equal(await toFetch(both), 300_000)
    hub.breakAfter(120_000, 0, 0, 0, 0, 0)
    await failure(Effect.flatMap(openRepo(rows, settings), (repo) => fetchFile(repo, "big file.bin")))
    assert.equal(await toFetch(both), 180_000)
    await fetchOne(settings, "big file.bin")
    const before = hub.requests.length
    assert.equal(await toFetch(both), 0)
    assert.equal(hub.requests.length, before + 1, "the revision alone")
    assert.equal(await toFetch(both, { ...settings, offline: true }), 0)
    const huge = Effect.flatMap(openRepo({ kind: "model", id: "org/huge" }, settings), (repo) =>
      bytesToFetch(repo, ["a.bin", "b.bin"])
    )
    assert.equal(await Effect.runPromise(huge), 1e15 + 1)
    hub.refuse(5, 503)
    assert.equal(
      (await failure(Effect.flatMap(openRepo(rows, settings), (repo) => bytesToFetch(repo, both)))).reason,
      "server"
    )
  }))

describe("refusals say what to do", () => {
  const open = (id: string, settings: HubSettings) => openRepo({ kind: "model", id }, settings)
  const fetchOf = (id: string, settings: HubSettings) =>
    Effect.flatMap(open(id, settings), (repo) => fetchFile(repo, "config.json"))
  test("401: no such name, or private", () =>
    withHub(async (_, settings) => {
      const error = await failure(open("org/private", settings))
      assert.equal(error.reason, "unauthorized")
      assert.match(
        error.message,
        /org\/private: there is none of this name at .*, or it is private and no token was given \(401\).*HF_TOKEN/
      )
      assert.deepEqual((await Effect.runPromise(open("org/private", { ...settings, token: "secret" }))).files, [
        "config.json"
      ])
    }))
  test("401: a token that nobody knows", () =>
    withHub(async (hub, settings) => {
      for (const id of ["org/private", "org/gated"]) {
        const error = await failure(open(id, { ...settings, token: "other" }))
        assert.equal(error.reason, "unauthorized")
        assert.match(error.message, /does not know the token \(401\), which is HF_TOKEN or .*Make a new one at/)
      }
      assert.equal(hub.requests.length, 2, "asking again would not help")
    }))
  test("401 and 403: gated, without a token and with one of an account that has no access", () =>
    withHub(async (hub, settings) => {
      const none = await failure(fetchOf("org/gated", settings))
      assert.equal(none.reason, "gated")
      assert.ok(none.message.includes(`access is asked for at ${hub.endpoint}/org/gated, and no token was given (401)`))
      const known = await failure(fetchOf("org/gated", { ...settings, token: "known" }))
      assert.equal(known.reason, "gated")
      assert.match(known.message, /and the account of the token has none \(403\)\. Once it is granted/)
      assert.deepEqual(readdirSync(join(settings.cache, "models--org--gated")), ["refs"], "nothing half-written")
      await Effect.runPromise(fetchOf("org/gated", { ...settings, token: "secret" }))
    }))
  test("404: no such name for this token, and a file that is not there", () =>
    withHub(async (hub, settings) => {
      hub.refuse(1, 404, { "x-error-code": "RepoNotFound" })
      const named = await failure(openRepo(rows, { ...settings, token: "mine" }))
      assert.equal(named.reason, "not-found")
      assert.match(named.message, /org\/rows: there is none of this name, or it is private and not for the account/)
      hub.refuse(1, 404)
      assert.match(
        (await failure(openRepo(rows, settings))).message,
        /none of this name at .* \(404\)\. Check the name at/
      )
      const error = await failure(Effect.flatMap(openRepo(rows, settings), (repo) => fetchFile(repo, "none")))
      assert.match(error.message, /org\/rows has no file none/)
    }))
  test("429 and 5xx are waited out: for as long as the server says, then for longer and longer, and not for ever", () =>
    withHub(async (hub, settings) => {
      hub.refuse(1, 429, { "retry-after": "0.2" })
      hub.refuse(2, 503)
      const began = performance.now()
      await Effect.runPromise(openRepo(rows, settings))
      assert.ok(performance.now() - began >= 200)
      assert.equal(hub.requests.length, 4)
      hub.refuse(5, 429)
      const error = await failure(openRepo(rows, settings))
      assert.equal(error.reason, "rate-limited")
      assert.match(error.message, /takes no more requests for now \(429\); 5 attempts were made.*set HF_TOKEN/)
      hub.refuse(1, 429, { "retry-after": "4000" })
      const long = await failure(openRepo(rows, settings))
      assert.equal(long.reason, "rate-limited")
      assert.match(long.message, /1 attempt was made\. It asks to wait 67 minutes/)
      assert.equal(hub.requests.length, 10, "nobody waits an hour")
      hub.refuse(5, 502)
      assert.match((await failure(openRepo(rows, settings))).message, /answers with 502; 5 attempts were made/)
    }))
  test("429 and 5xx in the middle of a file: it goes on from where it broke off", () =>
    withHub(async (hub, settings) => {
      const repo = await Effect.runPromise(openRepo(rows, settings))
      hub.breakAfter(100_000, 50_000)
      const fetching = Effect.runPromise(
        fetchFile(repo, "big file.bin", { onProgress: (done) => done === 100_000 && hub.refuse(2, 503) })
      )
      assert.deepEqual(new Uint8Array(readFileSync(await fetching)), large)
      const ranges = hub.requests.flatMap(({ headers }) => headers.range ?? [])
      assert.ok(ranges.includes("bytes=100000-") && ranges.includes("bytes=150000-"), ranges.join())
    }))
})

test("offline only the cache answers; without a network it does too", async () => {
  let kept: HubSettings | undefined
  await withHub(async (_, settings) => {
    const offline = { ...settings, offline: true }
    const error = await failure(openRepo(rows, offline))
    assert.equal(error.reason, "offline")
    assert.match(error.message, /HF_HUB_OFFLINE is set/)
    const path = await fetchOne(settings, "data/train.jsonl")
    const repo = await Effect.runPromise(openRepo(rows, offline))
    assert.deepEqual([repo.files, repo.fromCache], [["data/train.jsonl"], true])
    assert.equal(await Effect.runPromise(fetchFile(repo, "data/train.jsonl")), path)
    kept = settings
  })
  // The server is gone now.
  const repo = await Effect.runPromise(openRepo(rows, kept!))
  assert.equal(repo.fromCache, true)
  const error = await failure(openRepo({ kind: "model", id: "org/other" }, kept!))
  assert.equal(error.reason, "network")
})

test("names from outside never leave the cache's folder", async () => {
  const evil: FakeRepo = {
    files: { "../../evil": "x", "/etc/passwd": "x", "a/../../b": "x", "ok.txt": "y", "c:\\x": "z" }
  }
  await using hub = await fakeHub({ "models/org/evil": evil })
  const settings = { ...hubSettings({ HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "evil") }), backOff: 2 }
  const repo = await Effect.runPromise(openRepo({ kind: "model", id: "org/evil" }, settings))
  assert.deepEqual(repo.files, ["ok.txt"])
  assert.deepEqual(["a/b", "../b", "a/..", "a--b/c", "a/b/c", "a", "org/na.me_x-1"].map(isRepoId), [
    true,
    false,
    false,
    false,
    false,
    false,
    true
  ])
  const bad = await failure(openRepo({ kind: "model", id: "org/evil", revision: "../x" }, settings))
  assert.equal(bad.reason, "not-found")
})

test("an interruption ends a download at once", () =>
  withHub(async (hub, settings) => {
    hub.refuse(1, 503, { "retry-after": "60" })
    const began = performance.now()
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 50)
    await assert.rejects(Effect.runPromise(openRepo(rows, settings), { signal: controller.signal }))
    assert.ok(performance.now() - began < 5000)
  }))
