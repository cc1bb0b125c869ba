/** The example's default, a gated model of the Hub, as a user meets it: refused in each way with what to do, broken off, and had. */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { type FakeHub, fakeHub } from "@graft/hub/fakeHub"

const main = fileURLToPath(new URL("main.ts", import.meta.url))
const fixture = fileURLToPath(new URL("../../packages/testing/fixtures/tiny-bpe", import.meta.url))
const files = Object.fromEntries(
  readdirSync(fixture)
    .filter((name) => /\.(json|safetensors)$/.test(name))
    .map((name) => [name, new Uint8Array(readFileSync(join(fixture, name)))])
)
const GATED = "meta-llama/Llama-2-7b-hf"
const ways = /--model FOLDER\|FILE\.gguf.*--synthetic/s

const run = (hub: FakeHub, home: string, token: string, ...flags: ReadonlyArray<string>) =>
  new Promise<{ readonly code: number | null; readonly stderr: string }>((resolve, reject) => {
    const small = [
      "--layers",
      "2",
      "--tokens",
      "32",
      "--steps",
      "1",
      "--accumulate",
      "1",
      "--rank",
      "4",
      "--out",
      join(home, "out")
    ]
    const variables = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: token, HUGGING_FACE_HUB_TOKEN: "" }
    const env = { ...process.env, HF_HUB_CACHE: "", XDG_CACHE_HOME: home, ...variables }
    const child = spawn(process.execPath, [main, ...small, ...flags], { env, stdio: ["ignore", "ignore", "pipe"] })
    let stderr = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text
    })
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, stderr }))
  })

test("401, 403, 404, 429, 5xx and a connection that breaks off", { timeout: 240_000 }, async () => {
  const home = mkdtempSync(join(tmpdir(), "graft-7b-hub-"))
  await using hub = await fakeHub({
    [`models/${GATED}`]: { files, token: "granted", gated: true, strangers: ["known"], largeFrom: 20_000 },
    "datasets/timdettmers/openassistant-guanaco": { files: { "train.jsonl": '{"text":"a b c"}\n{"text":"d e f"}\n' } }
  })
  const refused = async (wanted: RegExp, token: string, ...flags: ReadonlyArray<string>) => {
    const { code, stderr } = await run(hub, home, token, ...flags)
    assert.equal(code, 1, stderr)
    assert.match(stderr, wanted)
    assert.ok(!existsSync(join(home, "out")), "nothing is left behind")
    return stderr
  }
  assert.match(await refused(/does not know the token \(401\)/, "mistyped"), ways)
  const page =
    /access is asked for at http\S+\/meta-llama\/Llama-2-7b-hf, and the account of the token has none \(403\)/
  assert.match(await refused(page, "known"), ways)
  await refused(/meta-llama\/Llama-3: there is none of this name/, "granted", "--model", "meta-llama/Llama-3")
  hub.refuse(5, 429, { "retry-after": "0" })
  await refused(/takes no more requests for now \(429\); 5 attempts were made/, "granted")
  hub.refuse(5, 503, { "retry-after": "0" })
  await refused(/answers with 503; 5 attempts were made/, "granted")

  hub.refuse(1, 429, { "retry-after": "0" })
  hub.breakAfter(100, 20_000, 40_000)
  const { code, stderr } = await run(hub, home, "granted")
  assert.equal(code, 0, stderr)
  assert.ok(existsSync(join(home, "out", "adapter_model.safetensors")))
  assert.ok(
    hub.requests.some(({ headers }) => headers.range !== undefined),
    "it went on where it broke off"
  )
  const snapshots = join(home, "hub", `models--${GATED.replace("/", "--")}`, "snapshots")
  const [commit = ""] = readdirSync(snapshots)
  for (const [name, bytes] of Object.entries(files))
    if (existsSync(join(snapshots, commit, name)))
      assert.deepEqual(new Uint8Array(readFileSync(join(snapshots, commit, name))), bytes, name)
  assert.ok(existsSync(join(snapshots, commit, "model.safetensors")))
  rmSync(home, { recursive: true })
})
