/** Help: there for every verb, with an example, quickly. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { graft, graftOk, start } from "./commandUnderTest.ts"

const TIMEOUT = { timeout: 120_000 }
const verbs = [
  "train",
  "plan",
  "generate",
  "chat",
  "eval",
  "quantize",
  "data",
  "logits",
  "inspect",
  "diff",
  "doctor",
  "synth"
]

test(
  "graft --help names every verb, and every verb's help has an example and its flags explained",
  TIMEOUT,
  async () => {
    const all = await graftOk("--help")
    for (const verb of verbs) {
      assert.match(all, new RegExp(`^ {2}${verb} `, "m"))
      const help = await graftOk(verb, "--help")
      assert.match(help, new RegExp(`EXAMPLES\\n.*\\n {2}graft ${verb}( |$)`, "m"))
      assert.doesNotMatch(help, /^ {2}--[\w-]+(, -\w)?( \w+)? *$/m, "a flag without a word")
    }
  }
)

test("help is plain where output is no terminal, and comes before the heavy packages are loaded", TIMEOUT, async () => {
  const { code, stdout } = await start(["--help"], { env: { FORCE_COLOR: "" } }).outcome
  assert.equal(code, 0)
  assert.ok(!stdout.includes("\x1b"))
  let best = Infinity
  for (let i = 0; i < 5; i++) {
    const began = performance.now()
    await graftOk("--help")
    best = Math.min(best, performance.now() - began)
  }
  // From source it is made anew; the aim is 300 ms, and a machine under load is given two seconds.
  assert.ok(best < 2000, `${best} ms`)
})

test("no verb is a question for help, and the version is the package's", TIMEOUT, async () => {
  const { code, stdout } = await graft()
  assert.equal(code, 1)
  assert.match(stdout, /SUBCOMMANDS/)
  assert.match(await graftOk("--version"), /graft v\d+\.\d+\.\d+/)
})
