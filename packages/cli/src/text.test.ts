/** Text in and out: generation, conversations, evaluation; and what a person finds in files. */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { backends, fixtures, graft, graftOk, jsonLines, root, temporaryFolder } from "./commandUnderTest.ts"

const folder = temporaryFolder()
const model = join(fixtures, "tiny-bpe")
const backend = backends.at(-1)!
const TIMEOUT = { timeout: 60_000 }
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, readFileSync(join(root, "examples/data/jargon.jsonl"), "utf8").split("\n").slice(0, 6).join("\n"))

const generated = async (...flags: ReadonlyArray<string>) => {
  const lines = jsonLines(await graftOk("generate", "--model", model, "--backend", backend, "--json", ...flags))
  assert.equal(lines.length, 1)
  return lines[0] as { text: string; ids: Array<number>; promptTokens: number; finish: string } // as generate.ts writes it
}

test("generate: greedy is one text, a seed is one draw, and k = 1 is greedy", TIMEOUT, async () => {
  const prompt = ["--prompt", "What does 'foo' mean?", "-n", "12"]
  const greedy = await generated(...prompt)
  assert.equal(greedy.ids.length, 12)
  assert.equal(greedy.finish, "length")
  assert.equal(await graftOk("generate", "--model", model, "--backend", backend, ...prompt), `${greedy.text}\n`)
  assert.deepEqual((await generated(...prompt, "--temperature", "2", "--top-k", "1")).ids, greedy.ids)
  const drawn = await generated(...prompt, "--temperature", "2", "--seed", "1")
  assert.deepEqual((await generated(...prompt, "--temperature", "2", "--seed", "1")).ids, drawn.ids)
  assert.notDeepEqual((await generated(...prompt, "--temperature", "2", "--seed", "2")).ids, drawn.ids)
})

test("generate: the same text on any backend, and token ids where there is no tokenizer", TIMEOUT, async () => {
  const ids = [5, 77, 130, 9]
  const texts = await Promise.all(
    backends.map((one) =>
      graftOk(
        "generate",
        "--model",
        join(fixtures, "tiny-llama"),
        "--ids",
        ids.join(","),
        "-n",
        "8",
        "--backend",
        one,
        "--compute",
        "f32"
      )
    )
  )
  assert.match(texts[0]!, /^\d+(,\d+)*\n$/)
  for (const text of texts) assert.equal(text, texts[0])
})

test(
  "generate: a conversation goes through the chat template, by --chat and by --messages alike",
  TIMEOUT,
  async () => {
    const chat = await generated("--prompt", "Hello", "--chat", "-n", "4")
    const messages = join(folder, "messages.json")
    writeFileSync(messages, JSON.stringify([{ role: "user", content: "Hello" }]))
    assert.deepEqual((await generated("--messages", messages, "-n", "4")).ids, chat.ids)
    const plain = await generated("--prompt", "Hello", "-n", "4")
    assert.ok(chat.promptTokens > plain.promptTokens)
    const named = await generated("--prompt", "Hello", "--chat", "--chat-template", "llama-3", "-n", "4")
    assert.notEqual(named.promptTokens, chat.promptTokens)
    const wrong = await graft("generate", "--model", model, "--messages", '[{"role": "user"}]')
    assert.match(wrong.stderr, /--messages .*content/)
  }
)

test("generate: never beyond the model's positions", TIMEOUT, async () => {
  const { ids, promptTokens } = await generated("--prompt", "foo ".repeat(60), "-n", "400")
  assert.ok(ids.length + promptTokens <= 256)
  const { code, stderr } = await graft("generate", "--model", model, "--prompt", "foo ".repeat(400))
  assert.equal(code, 1)
  assert.match(stderr, /the prompt has \d+ tokens, .* 256 positions/)
})

test("chat: answers depend on what was said before, and an empty line ends it", TIMEOUT, async () => {
  const main = fileURLToPath(new URL("./main.ts", import.meta.url))
  const child = spawn(process.execPath, [main, "chat", "--model", model, "--backend", backend, "-n", "6"], {
    cwd: root
  })
  let said = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text
  })
  child.stdin.end("Hello\nHello\n\n")
  const code = await new Promise((resolve) => child.on("close", resolve))
  assert.equal(code, 0)
  const answers = said.split("> ").slice(1, 3)
  const single = await generated("--prompt", "Hello", "--chat", "-n", "6")
  assert.equal(answers[0], `${single.text}\n`)
  assert.equal(said.split("> ").length, 4)
})

test(
  "eval: loss, perplexity and accuracy do not depend on the batch; training's own evaluation agrees",
  TIMEOUT,
  async () => {
    const evaluated = async (...flags: ReadonlyArray<string>) =>
      jsonLines(await graftOk("eval", "--model", model, "--data", rows, "--backend", backend, "--json", ...flags)).find(
        ({ event }) => event === "Eval"
      ) as Record<string, number> // numbers but for `event`
    const whole = await evaluated("--batch-size", "6", "--compute", "f32")
    const single = await evaluated("--batch-size", "1", "--compute", "f32")
    assert.ok(Math.abs(whole.loss! - single.loss!) < 1e-5)
    assert.equal(whole.tokens, single.tokens)
    assert.ok(Math.abs(whole.perplexity! - Math.exp(whole.loss!)) < 1e-9)
    assert.ok(whole.tokenAccuracy! >= 0 && whole.tokenAccuracy! <= 1)

    const run = [
      "--data",
      rows,
      "--eval-data",
      rows,
      "--steps",
      "1",
      "--out",
      join(folder, "evaluated"),
      "--compute",
      "f32"
    ]
    const events = jsonLines(await graftOk("train", "--model", model, ...run, "--backend", backend, "--json"))
    const trained = events.find(({ event }) => event === "Eval")!
    assert.equal(trained.tokens, whole.tokens)
    assert.ok(Math.abs(Number(trained.loss) - whole.loss!) < 1e-5 * whole.loss!)
  }
)

test("inspect: model, GGUF, adapter with checkpoint, safetensors", TIMEOUT, async () => {
  const said = await graftOk("inspect", model)
  assert.match(said, /^model .*tiny-bpe/m)
  assert.match(said, /tokenizer +512 tokens/)
  assert.match(said, /20 tensors, 189\.1 kB: 20 BF16/)
  assert.match(await graftOk("inspect", join(model, "model.gguf")), /general\.architecture +llama/)
  const listed = await graftOk("inspect", join(fixtures, "tiny-lora-patterns"), "--tensors")
  assert.match(listed, /^ {2}rank +4$/m)
  assert.match(listed, /layers\.1\.self_attn\.q_proj\.lora_A\.weight +F32 +\[6, 64\]/)
  const out = join(folder, "evaluated")
  const kinds = jsonLines(await graftOk("inspect", out, "--json")).map(({ kind }) => kind)
  assert.deepEqual(kinds, ["adapter", "checkpoint"])
  assert.match(await graftOk("inspect", join(out, "adapter_model.safetensors")), /^safetensors /)
  const { code, stderr } = await graft("inspect", folder)
  assert.equal(code, 1)
  assert.match(stderr, /holds no config\.json, adapter_config\.json or state\.json/)
})

test("doctor says what there is, and why a backend does not load", TIMEOUT, async () => {
  const [machine] = jsonLines(await graftOk("doctor", "--quick", "--json"))
  const found = machine!.backends as ReadonlyArray<{ backend: string; loads: boolean; detail: string }> // as doctor.ts writes it
  assert.deepEqual(
    found.map(({ backend: name, loads }) => [name, loads]),
    [
      ["cpu", backends.includes("cpu")],
      ["tfjs", true],
      ["reference", true]
    ]
  )
  const tfjs = machine!.tfjs as ReadonlyArray<{ name: string; loads: boolean; detail: string }> // the same
  assert.deepEqual(
    tfjs.map(({ name, loads, detail }) => [name, loads, detail]),
    [
      ["@tensorflow/tfjs-node-gpu", false, "is not installed"],
      ["@tensorflow/tfjs-node", false, "is not installed"],
      ["@tensorflow/tfjs-backend-wasm", true, "runs in WebAssembly"],
      ["@tensorflow/tfjs-backend-cpu", true, "runs in JavaScript, slowly"]
    ]
  )
  assert.ok(Number(machine!.cores) >= 1)
})
