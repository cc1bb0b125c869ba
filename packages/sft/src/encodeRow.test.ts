import assert from "node:assert/strict"
import { describe, test } from "node:test"
import {
  InvalidColumn,
  NoChatTemplate,
  NoTokenizer,
  SequenceBeyondPositions,
  TokenOutsideVocabulary
} from "./DataError.ts"
import type { DataModel } from "./DataModel.ts"
import { type EncodeOptions, rowEncoder } from "./encodeRow.ts"
import { fakeTokenizer } from "./fakeTokenizer.ts"
import type { Place } from "./Place.ts"
import type { Row } from "./Row.ts"
import { namedTemplate } from "./templates.ts"

const place: Place = { file: "rows.jsonl", unit: "line", number: 3 }
const defaults: EncodeOptions = { maxLength: 100, maxLengthGiven: true, lossOn: "answers", templateNames: ["chatml"] }

/** Each token's text, in brackets where it is learnt; and what was noted. */
const show = (
  row: Row,
  given: {
    readonly model?: Partial<DataModel>
    readonly options?: Partial<EncodeOptions>
    readonly split?: boolean
  } = {}
) => {
  const tokenizer = fakeTokenizer()
  const model: DataModel = { tokenizer, vocabularySize: 1000, positions: 200, ...given.model }
  const notes: Array<string> = []
  const sequences = rowEncoder(model, { ...defaults, ...given.options })(row, place, given.split ?? false, (finding) =>
    notes.push(finding)
  )
  const text = (word: number) => {
    const used = model.tokenizer as ReturnType<typeof fakeTokenizer> | undefined
    const token = used === undefined ? String(word < 0 ? ~word : word) : used.texts([word < 0 ? ~word : word])[0]!
    return word < 0 ? `[${token}]` : token
  }
  return { sequences: sequences.map((words) => Array.from(words, text).join("")), notes }
}
const template = namedTemplate("chatml", { bosToken: "<s>", eosToken: "</s>" })
const conversation: Row = {
  kind: "messages",
  answersFrom: 0,
  messages: [
    { role: "user", content: "hi" },
    { role: "assistant", content: "hello you" },
    { role: "user", content: "bye" },
    { role: "assistant", content: "ciao" }
  ]
}

describe("a text that is a rendered conversation", () => {
  const text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo there<|im_end|>\n"
  const both: Row = { kind: "text", text: text + text.replace("yo", "oy") }
  const responses = { from: "<|im_start|>assistant\n", to: "<|im_start|>user\n" }
  const model = { stopIds: [3] }
  test("is learnt whole unless its parts are named, and that is found", () => {
    assert.deepEqual(show(both, { model }).notes, ["conversation-as-text"])
    assert.deepEqual(show({ kind: "text", text: "one<|im_end|>\n" }, { model }).notes, [])
  })
  test("is learnt after each response part, up to the next question, and gets no end of ours", () => {
    const { sequences, notes } = show(both, { model, options: { responses } })
    const turn = (word: string) =>
      `<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[${word}][ there][<|im_end|>][\n]`
    assert.deepEqual(sequences, [`<s>${turn("yo")}${turn("oy")}`])
    assert.deepEqual(notes, [])
    const { sequences: open } = show(both, { model, options: { responses: { from: responses.from } } })
    assert.equal(open[0]!.split("[").length - 1, 17, "without a question part an answer goes to the end")
  })
  test("a conversation is learnt by its parts too, which serves a template whose answers cannot be found", () => {
    const { sequences } = show(conversation, { model: { ...model, chatTemplate: template }, options: { responses } })
    assert.deepEqual(
      sequences,
      show(conversation, { model: { ...model, chatTemplate: template } }).sequences.map((text) =>
        text.replaceAll("[<|im_end|>]\n", "[<|im_end|>][\n]")
      )
    )
  })
})

describe("an end that the labels hide", () => {
  const model = { tokenizer: undefined, stopIds: [9], vocabularySize: 10 }
  const notes = (row: Row) => show(row, { model }).notes
  test("by -100 after what is learnt, or by the attention mask, as pad = EOS does", () => {
    assert.deepEqual(notes({ kind: "tokens", ids: [1, 2, 3, 9], labels: [-100, 2, 3, -100] }), [
      "end-masked",
      "never-stops"
    ])
    assert.deepEqual(notes({ kind: "tokens", ids: [1, 2, 3], labels: [-100, 2, 3], endHidden: 9 }), [
      "end-masked",
      "never-stops"
    ])
  })
  test("not where a prompt holds it, the end is learnt, or what is hidden is padding", () => {
    assert.deepEqual(notes({ kind: "tokens", ids: [1, 9, 3, 9], labels: [-100, -100, 3, 9] }), [])
    assert.deepEqual(notes({ kind: "tokens", ids: [1, 2, 9], labels: [-100, 2, 9], endHidden: 9 }), [])
    assert.deepEqual(notes({ kind: "tokens", ids: [1, 2, 3], labels: [-100, 2, 3], endHidden: 0 }), ["never-stops"])
  })
})

describe("text", () => {
  test("is learnt whole, between BOS and EOS", () => {
    assert.deepEqual(show({ kind: "text", text: "one two" }), { sequences: ["<s>[one][ two][</s>]"], notes: [] })
  })
  test("has BOS and EOS once when it brings them", () => {
    assert.deepEqual(show({ kind: "text", text: "<s>one two</s>" }).sequences, ["<s>[one][ two][</s>]"])
  })
  test("gets no BOS from a tokenizer that adds none, and EOS once from one that adds it", () => {
    assert.deepEqual(
      show({ kind: "text", text: "one" }, { model: { tokenizer: fakeTokenizer({ addsBos: false }) } }).sequences,
      ["one[</s>]"]
    )
    assert.deepEqual(
      show({ kind: "text", text: "one" }, { model: { tokenizer: fakeTokenizer({ addsEos: true }) } }).sequences,
      ["<s>[one][</s>]"]
    )
  })
  test("that is too long keeps its start, or is split so that each token is learnt once", () => {
    const row: Row = { kind: "text", text: "a b c d e f" }
    assert.deepEqual(show(row, { options: { maxLength: 4 } }), {
      sequences: ["<s>[a][ b][ c]"],
      notes: ["truncated", "answer-cut"]
    })
    assert.deepEqual(show(row, { options: { maxLength: 4 }, split: true }), {
      sequences: ["<s>[a][ b][ c]", " c[ d][ e][ f]", " f[</s>]"],
      notes: []
    })
  })
})

describe("prompt and completion", () => {
  const row: Row = { kind: "completion", prompt: "2 + 2 =", completion: " 4" }
  test("learns the completion and EOS", () => {
    assert.deepEqual(show(row), { sequences: ["<s>2 + 2 =[ 4][</s>]"], notes: [] })
  })
  test("learns the prompt too when asked", () => {
    assert.deepEqual(show(row, { options: { lossOn: "all" } }).sequences, ["<s>[2][ +][ 2][ =][ 4][</s>]"])
  })
  test("keeps the prompt's own tokens where prompt and answer would join", () => {
    assert.deepEqual(show({ kind: "completion", prompt: "Say: ", completion: "yes" }), {
      sequences: ["<s>Say: [yes][</s>]"],
      notes: ["border-moved"]
    })
  })
  test("puts no space of SentencePiece between prompt and answer", () => {
    const tokenizer = fakeTokenizer({ dummySpace: true })
    assert.deepEqual(
      show({ kind: "completion", prompt: "Say:", completion: "yes" }, { model: { tokenizer } }).sequences,
      ["<s> Say:[yes][</s>]"]
    )
    assert.deepEqual(
      show({ kind: "completion", prompt: "Say: ", completion: "yes" }, { model: { tokenizer } }).sequences,
      ["<s> Say: [yes][</s>]"]
    )
  })
  test("cut before its answer has nothing to learn", () => {
    assert.deepEqual(show(row, { options: { maxLength: 4 } }), {
      sequences: ["<s>2 + 2"],
      notes: ["truncated", "answer-cut"]
    })
  })
  test("notes an empty completion", () => {
    assert.deepEqual(show({ kind: "completion", prompt: "x", completion: "" }), {
      sequences: ["<s>x[</s>]"],
      notes: ["empty-turn"]
    })
  })
})

describe("conversations", () => {
  const model = { tokenizer: fakeTokenizer({ eos: "<|im_end|>" }), chatTemplate: template }
  test("learn what the assistant says and the mark that ends it, and get nothing that the template does not write", () => {
    assert.deepEqual(show(conversation, { model }), {
      sequences: [
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[hello][ you][<|im_end|>]\n" +
          "<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n[ciao][<|im_end|>]\n"
      ],
      notes: []
    })
  })
  test("learn the last answer only, when asked", () => {
    const [text] = show(conversation, { model, options: { lossOn: "last" } }).sequences
    assert.match(text!, /assistant\nhello you<\|im_end\|>/)
    assert.match(text!, /assistant\n\[ciao\]\[<\|im_end\|>\]\n$/)
  })
  test("learn everything but the first token, when asked", () => {
    const [text] = show(conversation, { model, options: { lossOn: "all" } }).sequences
    assert.match(text!, /^<\|im_start\|>\[user\]\[\n\]\[hi\]\[<\|im_end\|>\]/)
  })
  test("note answers whose end is not learnt: the tokenizer's EOS is not what the template writes", () => {
    assert.deepEqual(show(conversation, { model: { chatTemplate: template } }).notes, ["never-stops"])
    assert.deepEqual(show(conversation, { model: { chatTemplate: template, stopIds: [3] } }).notes, [])
  })
  test("note a template that doubles BOS, and empty turns", () => {
    const twice = namedTemplate("alpaca", { bosToken: "<s><s>", eosToken: "</s>" })
    assert.deepEqual(show(conversation, { model: { chatTemplate: twice } }).notes, ["bos-twice"])
    const empty: Row = {
      kind: "messages",
      answersFrom: 0,
      messages: [
        { role: "user", content: " " },
        { role: "assistant", content: "x" }
      ]
    }
    assert.deepEqual(show(empty, { model }).notes, ["empty-turn"])
  })
  test("need a template", () => {
    assert.throws(
      () => show(conversation),
      (e: unknown) => e instanceof NoChatTemplate && /line 3.*chatml/.test(e.message)
    )
  })
})

describe("rows already tokenised", () => {
  const model = { tokenizer: undefined }
  test("learn what their labels say, all but the first token without", () => {
    assert.deepEqual(show({ kind: "tokens", ids: [5, 6, 7] }, { model }).sequences, ["5[6][7]"])
    assert.deepEqual(show({ kind: "tokens", ids: [5, 6, 7], labels: [5, -100, 7] }, { model }).sequences, ["56[7]"])
  })
  test("with labels that are shifted are refused, and so are other labels", () => {
    assert.throws(
      () => show({ kind: "tokens", ids: [5, 6, 7], labels: [6, 7, -100] }, { model }),
      (e: unknown) => e instanceof InvalidColumn && /shifted by one already/.test(e.message)
    )
    assert.throws(
      () => show({ kind: "tokens", ids: [5, 6, 7], labels: [5, 9, 7] }, { model }),
      /labels\[1\] is 9 where input_ids\[1\] is 6/
    )
  })
  test("outside the vocabulary are refused", () => {
    for (const id of [1000, -1, 2 ** 40]) {
      assert.throws(
        () => show({ kind: "tokens", ids: [1, id] }, { model }),
        (e: unknown) => e instanceof TokenOutsideVocabulary && e.position === 1
      )
    }
  })
  test("beyond the model's positions are refused unless a length is given", () => {
    const ids = Array.from({ length: 201 }, () => 1)
    assert.throws(
      () => show({ kind: "tokens", ids }, { model, options: { maxLengthGiven: false } }),
      (e: unknown) => e instanceof SequenceBeyondPositions && e.tokens === 201
    )
    assert.deepEqual(show({ kind: "tokens", ids }, { model }).notes, ["truncated", "answer-cut"])
    assert.deepEqual(
      show({ kind: "tokens", ids: ids.slice(1) }, { model, options: { maxLengthGiven: false } }).notes,
      []
    )
  })
  test("are all that serves without a tokenizer", () => {
    assert.throws(
      () => show({ kind: "text", text: "x" }, { model }),
      (e: unknown) => e instanceof NoTokenizer
    )
  })
})
