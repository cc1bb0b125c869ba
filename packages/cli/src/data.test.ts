/** Rows from the command line: previews, weights, what is refused before a run. */
import assert from "node:assert/strict"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { fakeHub } from "@graft/hub/fakeHub"
import { fixtures, graft, graftOk, jsonLines, start, temporaryFolder } from "./commandUnderTest.ts"
import { sourceOf } from "./stack/rowOptions.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const rows = (name: string, ...values: ReadonlyArray<unknown>): string => {
  const path = join(folder, name)
  writeFileSync(path, values.map((value) => `${JSON.stringify(value)}\n`).join(""))
  return path
}
const pairs = rows(
  "pairs.jsonl",
  ...Array.from({ length: 12 }, (_, i) => ({ prompt: `${i} and`, completion: ` ${i}` }))
)
const TIMEOUT = { timeout: 60_000 }

test("graft data preview shows rows with what is learnt, counts, and what was found", TIMEOUT, async () => {
  const twice = rows("twice.jsonl", { prompt: "one", completion: " two" }, { prompt: "one", completion: " two" })
  const said = await graftOk("data", "preview", "-m", model, "-d", pairs, "-d", twice, "--row", "3", "--row", "13")
  assert.match(said, /^data {3}14 rows, 14 to train on/m)
  assert.match(said, /^ {2}note: 1 row: they are the same as an earlier row \(twice\.jsonl line 2\)$/m)
  assert.match(said, /^pairs\.jsonl line 3: \d+ tokens, \d+ learnt\n.*2 and⟦ 2.*⟧$/m)
  assert.match(said, /^twice\.jsonl line 1: \d+ tokens, \d+ learnt\n.*one⟦ two.*⟧$/m)
  const events = jsonLines(await graftOk("data", "preview", "-m", model, "-d", pairs, "-n", "2", "--json"))
  assert.deepEqual(
    events.map(({ event }) => event),
    ["Model", "Data", "Row", "Row"]
  )
  const { code, stderr } = await graft("data", "preview", "-m", model, "-d", pairs, "--row", "13")
  assert.equal(code, 1)
  assert.match(stderr, /--row 13: there are 12 rows to train on/)
})

test("--data PATH:WEIGHT says how often an epoch has the rows of a source", TIMEOUT, async () => {
  assert.deepEqual(sourceOf("a.jsonl:2"), { path: "a.jsonl", weight: 2 })
  assert.deepEqual(sourceOf("org/name:train@main:.5"), { path: "org/name:train@main", weight: 0.5 })
  assert.equal(sourceOf("org/name:train"), "org/name:train")
  const strange = rows("strange.jsonl:2", {})
  assert.equal(sourceOf(strange), strange)
  const other = rows("other.jsonl", { text: "x" }, { text: "y" })
  const plan = ["plan", "-m", model, "-b", "1", "--backend", "reference", "--json"]
  const events = jsonLines(await graftOk(...plan, "-d", `${pairs}:2`, "-d", `${other}:0.5`))
  assert.equal(events.find(({ event }) => event === "Plan")?.["stepsPerEpoch"], 25)
  const { code, stderr } = await graft(...plan, "-d", `${pairs}:0`)
  assert.equal(code, 1)
  assert.match(stderr, /expected a number above 0/)
})

test(
  "a run on rows that never learn to end is refused before it begins, and says the flag that allows it",
  TIMEOUT,
  async () => {
    const endless = rows("endless.jsonl", { input_ids: [5, 6, 7, 1], labels: [-100, 6, 7, -100] })
    const eos = JSON.parse(
      (await graftOk("data", "preview", "-m", model, "-d", pairs, "--row", "1", "--json")).trim().split("\n").at(-1)!
    )
      .runs.at(-1)
      .ids.at(-1)
    writeFileSync(endless, `${JSON.stringify({ input_ids: [5, 6, 7, eos], labels: [-100, 6, 7, -100] })}\n`)
    const { code, stderr } = await graft("plan", "-m", model, "-d", endless, "--backend", "reference")
    assert.equal(code, 1)
    assert.match(stderr, /pad = EOS[\s\S]*give --allow end-always-masked/)
    await graftOk("plan", "-m", model, "-d", endless, "--backend", "reference", "--allow", "end-always-masked")
  }
)

test("--data org/name takes a data set of the Hub, and HF_HUB_OFFLINE what was fetched", TIMEOUT, async () => {
  await using hub = await fakeHub({
    "datasets/org/rows": { files: { "train.jsonl": '{"prompt":"from","completion":" afar"}\n' }, token: "mine" }
  })
  const preview = async (variables: Readonly<Record<string, string>>) => {
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, "hf"), ...variables }
    return start(["data", "preview", "-m", model, "-d", "org/rows"], { env }).outcome
  }
  const refused = await preview({ HF_TOKEN: "" })
  assert.match(refused.stderr, /org\/rows: .*or it is private and no token was given/)
  const { stdout, stderr } = await preview({ HF_TOKEN: "mine" })
  assert.match(stdout, /^org\/rows\/train\.jsonl line 1: \d+ tokens, \d+ learnt\n.*from⟦ afar/m, stderr)
  const asked = hub.requests.length
  assert.equal((await preview({ HF_HUB_OFFLINE: "1" })).stdout, stdout)
  assert.equal(hub.requests.length, asked)
})
