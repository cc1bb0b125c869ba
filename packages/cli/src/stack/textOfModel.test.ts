/** One chat template for training, for generation, and for what is kept beside an adapter: equal tokens in all three. */
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { chatTemplate, openModel } from "@graft/llama-loader"
import { namedTemplate, prepareData, templateNames } from "@graft/sft"
import { Effect } from "effect"
import { fixtures, graftOk, jsonLines, temporaryFolder } from "../commandUnderTest.ts"
import { keepTemplate, keptTemplate } from "./keptTemplate.ts"
import { encodeChat } from "./promptOf.ts"
import { dataModelOf, templateOf } from "./textOfModel.ts"

const folder = temporaryFolder()
const path = join(fixtures, "tiny-bpe")
const turns = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "Hello there" },
  { role: "assistant", content: "Hi, you two." },
  { role: "user", content: "And\n\nnow?" },
  { role: "assistant", content: "Nothing more" }
]
const rows = join(folder, "rows.jsonl")
writeFileSync(rows, `${JSON.stringify({ messages: turns })}\n`)
const unmarked =
  "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
writeFileSync(join(folder, "own.jinja"), unmarked)

for (const name of [...templateNames, join(folder, "own.jinja")]) {
  test(`${name.split("/").at(-1)}: training, generation and the kept file see the same tokens`, () =>
    Effect.gen(function* () {
      const model = yield* openModel(path)
      const template = yield* templateOf(model, { chatTemplate: name })
      assert.ok(template !== undefined)
      const options = { data: rows, allow: ["end-never-learnt"] }
      const { ids, supervised } = (yield* prepareData(options, dataModelOf(model, template))).tokensOf(0)
      const starts = supervised.flatMap((learnt, t) => (learnt && supervised[t - 1] !== true ? [t] : []))
      assert.equal(starts.length, 2, "two answers are learnt")
      for (const [i, start] of starts.entries()) {
        const prompt: ReadonlyArray<number> = yield* encodeChat(model, template, turns.slice(0, 2 + 2 * i))
        assert.deepEqual(prompt, ids.slice(0, start), `what generation sees before answer ${i + 1}`)
      }
      const adapter = join(folder, `adapter-${name.split("/").at(-1)}`)
      mkdirSync(adapter)
      yield* keepTemplate(adapter, template)
      const again = yield* templateOf(model, { chatTemplate: undefined, adapter })
      const kept = yield* prepareData(options, dataModelOf(model, again))
      assert.deepEqual(kept.tokensOf(0), { ids, supervised })
      // A model folder's chat_template.jinja is read by the loader.
      const special = (id: number | undefined) =>
        [...model.tokenizer!.specials].find(([, one]) => one === id)?.[0] ?? ""
      const file = keptTemplate(adapter)!
      const loaded = chatTemplate(file, readFileSync(file, "utf8"), {
        bosToken: special(model.tokenizer!.bosId),
        eosToken: special(model.tokenizer!.eosId)
      })
      const how = { addGenerationPrompt: false }
      assert.equal(loaded.render(turns, how), template.render(turns, how))
      assert.deepEqual(loaded.pieces?.(turns, how), template.pieces?.(turns, how))
    }).pipe(Effect.scoped, Effect.runPromise))
}

test("a run keeps its template, and generation with its adapter takes it", { timeout: 60_000 }, async () => {
  const out = join(folder, "out")
  const run = ["-m", path, "--backend", "reference"]
  await graftOk("train", ...run, "-d", rows, "-o", out, "--steps", "1", "--chat-template", "zephyr")
  assert.equal(readFileSync(join(out, "chat_template.jinja"), "utf8"), namedTemplate("zephyr").source)
  const chat = ["generate", ...run, "--adapter", out, "--chat", "--prompt", "Hello", "-n", "1", "--json"]
  const promptTokens = async (...more: ReadonlyArray<string>) =>
    jsonLines(await graftOk(...chat, ...more)).find(({ event }) => event === "Generated")?.["promptTokens"]
  assert.equal(await promptTokens(), await promptTokens("--chat-template", "zephyr"))
  assert.notEqual(await promptTokens(), await promptTokens("--chat-template", "alpaca"))
})
