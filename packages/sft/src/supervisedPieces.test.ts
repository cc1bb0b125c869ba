import assert from "node:assert/strict"
import { describe, test } from "node:test"
import type { ChatTemplate, Message } from "./ChatTemplate.ts"
import { jinjaTemplate } from "./jinjaTemplate.ts"
import { supervisedPieces } from "./supervisedPieces.ts"
import { namedTemplate, templateNames } from "./templates.ts"

const turns = (...contents: ReadonlyArray<string>): ReadonlyArray<Message> =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }))
const pieces = (
  template: ChatTemplate,
  messages: ReadonlyArray<Message>,
  which: "answers" | "last" = "answers",
  answersFrom = 0
) => supervisedPieces(template, { messages, answersFrom }, which)
const learnt = (...args: Parameters<typeof pieces>) =>
  pieces(...args)
    .filter((piece) => piece.supervised)
    .map((piece) => piece.text)

const unmarkedChatml = jinjaTemplate(
  "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
/** Drops the reasoning of all turns before the last, and opens it in the generation prompt. */
const forgetful = jinjaTemplate(
  `{%- for m in messages %}
    {%- if m.role == 'assistant' %}
      {%- set said = m.content.split('</think>')[-1] | trim if not loop.last else m.content %}
      {{- '<|assistant|>' + said + '<|end|>\n' }}
    {%- else %}{{- '<|' + m.role + '|>' + m.content + '\n' }}{%- endif %}
  {%- endfor %}
  {%- if add_generation_prompt %}{{- '<|assistant|><think>\n' }}{%- endif %}`
)
const alternating = jinjaTemplate(
  `{{- bos_token }}{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate user/assistant/user/assistant/...') }}{%- endif %}
    {%- if m.role == 'user' %}{{- '[INST] ' + m.content + ' [/INST]' }}{%- else %}{{- ' ' + m.content + eos_token }}{%- endif %}
  {%- endfor %}`,
  { bosToken: "<s>", eosToken: "</s>" }
)

describe("named templates", () => {
  for (const name of templateNames) {
    const template = namedTemplate(name, { bosToken: "<s>", eosToken: "</s>" })
    test(`${name}: pieces join to the text, answers are learnt with their end, and begin where generation does`, () => {
      const messages = [{ role: "system", content: "be brief" }, ...turns("hi", "hello", "bye", "ciao")]
      const all = pieces(template, messages)
      assert.equal(all.map((piece) => piece.text).join(""), template.render(messages, { addGenerationPrompt: false }))
      const end = { chatml: "<|im_end|>", "llama-3": "<|eot_id|>", "llama-2": " </s>", alpaca: "</s>", zephyr: "</s>" }[
        name
      ]
      const space = name === "llama-2" ? " " : ""
      assert.deepEqual(learnt(template, messages), [`${space}hello${end}`, `${space}ciao${end}`])
      const before = all
        .slice(0, 3)
        .map((piece) => piece.text)
        .join("")
      assert.equal(before, template.render(messages.slice(0, 4), { addGenerationPrompt: true }))
    })
  }
})

test("marks and differences find the same", () => {
  const messages = turns("hi", "hello\nyou", "bye", "ciao")
  assert.deepEqual(pieces(unmarkedChatml, messages), pieces(namedTemplate("chatml"), messages))
})

test("the white space of a tag's line does not get into the text", () => {
  const source =
    "{% for m in messages %}\n  {% if m.role == 'assistant' %}\n  A: {% generation %}\n{{ m.content }}.{% endgeneration %}\n\n  {% else %}\nU: {{ m.content }}\n  {% endif %}\n{% endfor %}"
  const marked = jinjaTemplate(source)
  assert.deepEqual(learnt(marked, turns("hi", "hello")), ["hello."])
  assert.equal(
    pieces(marked, turns("hi", "hello"))
      .map((p) => p.text)
      .join(""),
    marked.render(turns("hi", "hello"), { addGenerationPrompt: false })
  )
})

test("without a mark that ends a turn, the line end is what ends it, and is learnt", () => {
  const plain = jinjaTemplate(
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
  )
  assert.deepEqual(learnt(plain, turns("hi", "hello")), [" hello\n"])
})

test("a template that rewrites earlier turns and opens the reasoning itself", () => {
  const messages = turns("hi", "<think>\nhm</think>hello", "bye", "<think>\nso</think>ciao")
  assert.deepEqual(learnt(forgetful, messages), ["hello<|end|>", "so</think>ciao<|end|>"])
})

test("a template that gives the last answer an empty reasoning, and earlier ones none, also around tool calls", () => {
  const reasoning = jinjaTemplate(
    `{%- for m in messages %}
      {{- '<|im_start|>' + m.role + '\n' }}
      {%- if m.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
      {{- m.content }}
      {%- for call in m.tool_calls or [] %}{{- ('\n' if m.content else '') + '<tool_call>' + call + '</tool_call>' }}{%- endfor %}
      {{- '<|im_end|>\n' }}
    {%- endfor %}
    {%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}`
  )
  const messages: ReadonlyArray<Message> = [
    { role: "user", content: "weather" },
    { role: "assistant", content: "", tool_calls: ["w"] },
    { role: "tool", content: "sunny" },
    { role: "assistant", content: "fine", tool_calls: ["v"] },
    { role: "user", content: "bye" },
    { role: "assistant", content: "ciao" }
  ]
  assert.deepEqual(learnt(reasoning, messages), [
    "<tool_call>w</tool_call><|im_end|>",
    "fine\n<tool_call>v</tool_call><|im_end|>",
    "<think>\n\n</think>\n\nciao<|im_end|>"
  ])
})

test("a template that refuses a beginning of the conversation", () => {
  assert.deepEqual(learnt(alternating, turns("hi", "hello", "bye", "ciao")), [" hello</s>", " ciao</s>"])
  assert.throws(() => pieces(alternating, turns("hi", "hello").slice(1)), /roles must alternate/)
})

test("turns are left out by weight, by train, by answersFrom, and all but the last", () => {
  const messages = turns("a", "b", "c", "d", "e", "f")
  for (const template of [unmarkedChatml, namedTemplate("chatml")]) {
    const without = messages.map((m, i) => (i === 1 ? { ...m, weight: 0 } : i === 3 ? { ...m, train: false } : m))
    assert.deepEqual(learnt(template, without), ["f<|im_end|>"])
    assert.deepEqual(learnt(template, messages, "answers", 2), ["d<|im_end|>", "f<|im_end|>"])
    assert.deepEqual(learnt(template, messages, "last"), ["f<|im_end|>"])
    assert.deepEqual(learnt(template, turns("a")), [])
  }
})

test("an empty answer is its end alone", () => {
  assert.deepEqual(learnt(unmarkedChatml, turns("a", "")), ["<|im_end|>"])
})

test("text that holds the marks is refused", () => {
  assert.throws(() => pieces(namedTemplate("chatml"), turns("a", "b\uFDD1c")), /U\+FDD0/)
})
