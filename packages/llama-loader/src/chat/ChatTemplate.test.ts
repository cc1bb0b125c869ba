import assert from "node:assert/strict"
import { test } from "node:test"
import { ChatTemplateError, chatTemplate } from "./ChatTemplate.ts"
import { templateOfFolder } from "./templateOfFolder.ts"

const tokens = { bosToken: "<s>", eosToken: "</s>" }
const turns = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello." },
  { role: "user", content: "Bye" },
  { role: "assistant", content: "So long." }
]

const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

test("renders, with and without the prompt for an answer", () => {
  const template = chatTemplate("x", chatMl, tokens)
  assert.equal(
    template.render(turns.slice(0, 1), { addGenerationPrompt: true }),
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
  )
  assert.equal(template.render(turns.slice(0, 1), { addGenerationPrompt: false }), "<|im_start|>user\nHi<|im_end|>\n")
  assert.equal(template.pieces, undefined)
})

test("gives tools and the special tokens to the template", () => {
  const template = chatTemplate(
    "x",
    "{{ bos_token }}{% if tools %}{{ tools | length }}{% endif %}{{ eos_token }}",
    tokens
  )
  assert.equal(template.render([], { addGenerationPrompt: false, tools: [1, 2] }), "<s>2</s>")
  assert.equal(template.render([], { addGenerationPrompt: false }), "<s></s>")
  const asking = chatTemplate("x", "{% if tools is defined and tools is not none %}tools{% endif %}", tokens)
  assert.equal(asking.render([], { addGenerationPrompt: false }), "")
  assert.equal(asking.render([], { addGenerationPrompt: false, tools: [] }), "tools")
})

const marked = [
  "{%- for message in messages %}",
  "  {%- if message.role == 'assistant' %}",
  "[{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}]",
  "  {%- else %}",
  "({{ message.content }})",
  "  {%- endif %}",
  "{%- endfor %}"
].join("\n")

test("cuts at the marks of generation, white space as without them", () => {
  const template = chatTemplate("x", marked, tokens)
  const pieces = template.pieces!(turns, { addGenerationPrompt: false })
  assert.deepEqual(
    pieces.filter((piece) => piece.supervised).map((piece) => piece.text),
    ["Hello.</s>", "So long.</s>"]
  )
  assert.equal(pieces.map((piece) => piece.text).join(""), template.render(turns, { addGenerationPrompt: false }))
})

test("refuses text that holds its marks", () => {
  const template = chatTemplate("x", marked, tokens)
  const odd = [{ role: "user", content: "\ufdd0" }]
  assert.throws(() => template.pieces!(odd, { addGenerationPrompt: false }), ChatTemplateError)
})

test("what is no Jinja, and what the template refuses, are typed errors that name the file", () => {
  assert.throws(
    () => chatTemplate("x.json", "{% if %}", tokens),
    (error) => error instanceof ChatTemplateError && /x\.json cannot be read/.test(error.message)
  )
  const strict = chatTemplate("x", "{{ raise_exception('roles must alternate') }}", tokens)
  assert.throws(
    () => strict.render(turns, { addGenerationPrompt: false }),
    (error) =>
      error instanceof ChatTemplateError && /refuses this conversation: .*roles must alternate/.test(error.message)
  )
})

test("takes the default of several named templates", () => {
  const list = [
    { name: "tool_use", template: "a" },
    { name: "default", template: "b" }
  ]
  assert.equal(templateOfFolder("x", { chat_template: list }), "b")
  assert.equal(templateOfFolder("x", { chat_template: "c" }), "c")
  assert.equal(templateOfFolder("x", undefined), undefined)
  assert.throws(() => templateOfFolder("x", { chat_template: 3 }), ChatTemplateError)
})
