/** What a user gets wrong: one paragraph that says what, where, got, wanted and do; exit code 1; nothing half-written. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { fixtures, graft, graftOk, root, temporaryFolder } from "./commandUnderTest.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const ids = join(fixtures, "tiny-llama")
const TIMEOUT = { timeout: 60_000 }

const file = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}
const rows = file("rows.jsonl", `${JSON.stringify({ prompt: "What is it?", completion: " It is that." })}\n`.repeat(8))

/** A copy of a fixture to spoil. */
const spoilt = (name: string, from: string, spoil: (at: (path: string) => string) => void): string => {
  const to = join(folder, name)
  cpSync(from, to, { recursive: true })
  spoil((path) => join(to, path))
  return to
}

let outs = 0
/** Expects a failure, and that it left nothing behind. */
const refuses = async (wanted: RegExp, ...flags: ReadonlyArray<string>): Promise<void> => {
  const out = join(folder, `out-${outs++}`)
  const { code, stderr } = await graft("train", ...flags, "--backend", "reference", "--out", out)
  assert.equal(code, 1, stderr)
  assert.match(stderr, /^error: /)
  assert.match(stderr, wanted)
  assert.doesNotMatch(stderr, /^\s+at /m, "a stack is for bugs")
  assert.equal(existsSync(out), false, "nothing is left behind")
}

test("a misspelt flag is answered by the nearest name, and so is a misspelt verb", TIMEOUT, async () => {
  const flag = await graft("train", "--model", model, "--data", rows, "--learing-rate", "1")
  assert.deepEqual([flag.code, flag.stdout], [1, ""])
  assert.match(flag.stderr, /there is no flag --learing-rate of graft train; did you mean --learning-rate\?/)
  assert.match(flag.stderr, /`graft train --help`/)
  const verb = await graft("tran")
  assert.equal(verb.code, 1)
  assert.match(verb.stderr, /there is no verb tran of graft; did you mean train\?/)
})

test("a number out of bounds names its flag, what it was, and what is wanted", TIMEOUT, async () => {
  const { code, stderr } = await graft("train", "--model", model, "--data", rows, "--steps", "0")
  assert.equal(code, 1)
  assert.match(stderr, /--steps is "0"; expected an integer of at least 1/)
})

test("an unknown architecture", TIMEOUT, async () => {
  const gpt = spoilt("gpt", ids, (at) => {
    const config = JSON.parse(readFileSync(at("config.json"), "utf8"))
    config.architectures = ["GPT2LMHeadModel"]
    config.model_type = "gpt2"
    writeFileSync(at("config.json"), JSON.stringify(config))
  })
  await refuses(/gpt\/config\.json .*GPT2LMHeadModel.*LlamaForCausalLM/, "--model", gpt, "--data", rows)
})

test("a missing shard", TIMEOUT, async () => {
  const cut = spoilt("shard", ids, (at) => rmSync(at("model-00002-of-00002.safetensors")))
  await refuses(/names 2 shards, .*missing.*model-00002-of-00002\.safetensors/, "--model", cut, "--data", rows)
})

test("a target that matches nothing, by name and by expression", TIMEOUT, async () => {
  const train = ["--model", model, "--data", rows]
  await refuses(/no linear of .* is called q_prj; did you mean q_proj\?/, ...train, "--target", "q_prj,v_proj")
  await refuses(/targets "\.\*nothing" match no linear of .*there are q_proj/, ...train, "--target", ".*nothing")
})

test("an empty data set, and one that is not there", TIMEOUT, async () => {
  await refuses(/empty\.jsonl: there is no row in it; wanted/, "--model", model, "--data", file("empty.jsonl", ""))
  await refuses(/nowhere\.jsonl: there is no such file/, "--model", model, "--data", join(folder, "nowhere.jsonl"))
})

test("a row without its columns says how to name them by a flag", TIMEOUT, async () => {
  const path = file("columns.jsonl", '{"question": "a", "reply": "b"}\n')
  await refuses(/columns\.jsonl line 1: .*question, reply.*wanted .*--column prompt=/, "--model", model, "--data", path)
  await graftOk("plan", "--model", model, "--data", path, "--column", "prompt=question", "--column", "completion=reply")
})

test("a sequence beyond the model's positions says how to cut it", TIMEOUT, async () => {
  const path = file("long.jsonl", `${JSON.stringify({ input_ids: Array(300).fill(3) })}\n`)
  await refuses(
    /long\.jsonl line 1: 300 tokens, .* 256 positions\. Give --max-length 256/,
    "--model",
    model,
    "--data",
    path
  )
  await refuses(/300.*256/, "--model", model, "--data", rows, "--max-length", "300")
})

test("flags that contradict each other or the adapter they start from", TIMEOUT, async () => {
  const train = ["--model", model, "--data", rows]
  await refuses(/--rank .*--full/, ...train, "--full", "--rank", "4")
  await refuses(/--threads has no effect on the reference backend/, ...train, "--threads", "1")
  await refuses(/leave out --lora-dropout or --dora/, ...train, "--dora", "--lora-dropout", "0.1")
  const start = ["--model", ids, "--data", rows, "--adapter", join(fixtures, "tiny-lora-rslora")]
  await refuses(/tiny-lora-rslora: --alpha asks for 3, and the adapter has \d+/, ...start, "--alpha", "3")
})

test(
  "a loss that is no number ends the run, names the rows, and leaves the adapter as of the step before",
  TIMEOUT,
  async () => {
    const train = ["train", "--model", model, "--data", rows, "--backend", "reference", "--batch-size", "2"]
    const [out, good] = [join(folder, "diverged"), join(folder, "one-step")]
    const { code, stderr } = await graft(...train, "--out", out, "--steps", "4", "--learning-rate", "1e37")
    assert.equal(code, 1)
    assert.match(
      stderr,
      /step 2: loss .*rows\.jsonl line \d.*update was not applied; .*diverged holds the adapter as of step 1\. Lower/
    )
    await graftOk(...train, "--out", good, "--steps", "1", "--learning-rate", "1e37")
    const adapterOf = (run: string) => readFileSync(join(run, "adapter_model.safetensors"))
    assert.deepEqual(adapterOf(out), adapterOf(good))
  }
)

test("with --json the error is an object on standard error", TIMEOUT, async () => {
  const parse = await graft("plan", "--model", model, "--data", rows, "--rnk", "3", "--json")
  assert.equal(JSON.parse(parse.stderr).error, "InvalidInvocation")
  const { code, stderr, stdout } = await graft("plan", "--model", "nowhere", "--data", rows, "--json")
  assert.deepEqual([code, stdout], [1, ""])
  const { error, message } = JSON.parse(stderr)
  assert.equal(error, "FileError")
  assert.match(message, /cannot open nowhere/)
})

test("a place that cannot be written to is found before the model is read", TIMEOUT, async () => {
  const path = file("a-file", "")
  const { code, stderr } = await graft("train", "--model", "nowhere", "--data", rows, "--out", join(path, "inside"))
  assert.equal(code, 1)
  assert.match(stderr, /cannot write .*a-file.*inside/)
})

// A limit on the size of a file stands for a disk that takes no more: no privileges are needed to set it.
test("a full disk: the adapter that stood there stays, and nothing half-written lies beside it", TIMEOUT, async () => {
  const out = join(folder, "full")
  const train = ["train", "--model", model, "--data", rows, "--out", out, "--backend", "reference"]
  await graftOk(...train, "--steps", "1", "--rank", "2")
  const before = readFileSync(join(out, "adapter_model.safetensors"))
  const main = fileURLToPath(new URL("./main.ts", import.meta.url))
  const limited = spawnSync(
    "sh",
    [
      "-c",
      `trap '' XFSZ; ulimit -f 64; exec "$0" "$@"`,
      process.execPath,
      main,
      ...train,
      "--steps",
      "1",
      "--rank",
      "64"
    ],
    { encoding: "utf8", cwd: root }
  )
  assert.equal(limited.status, 1, limited.stdout)
  assert.match(limited.stderr, /^error: .*: cannot write .*0\.bin \(EFBIG\)\. The file is larger than/)
  assert.deepEqual(readFileSync(join(out, "adapter_model.safetensors")), before)
  assert.deepEqual(readdirSync(out).sort(), [
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "metrics.jsonl",
    "recipe.yaml",
    "report.html",
    "state"
  ])
})

test("logits: ids that are none, or none of this model", TIMEOUT, async () => {
  const out = join(folder, "logits.safetensors")
  const none = await graft("logits", "--model", model, "--ids", join(model, "model.safetensors"), "--out", out)
  assert.match(none.stderr, /has no tensor input_ids/)
  const other = await graft("logits", "--model", ids, "--ids", join(model, "logits.safetensors"), "--out", out)
  assert.match(other.stderr, /input_ids\[\d+, \d+\] is \d+, outside of the vocabulary of 256/)
  assert.equal(existsSync(out), false)
})
