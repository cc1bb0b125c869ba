import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { encodePieces } from "./encodePieces.ts"
import { fakeTokenizer } from "./fakeTokenizer.ts"

const text = fc
  .array(fc.constantFrom("a", "bc", "é", " ", "  ", "\n", "\n\n", ".", "<s>", "<|im_end|>", "1"), { maxLength: 6 })
  .map((parts) => parts.join(""))
const pieces = fc.array(fc.record({ text, supervised: fc.boolean() }), { maxLength: 5 })

test("each token belongs to one piece, and no text is lost", () => {
  fc.assert(
    fc.property(pieces, (given) => {
      const tokenizer = fakeTokenizer()
      const { ids, supervised } = encodePieces(tokenizer, given)
      const joined = (wanted: boolean) =>
        given
          .filter((piece) => piece.supervised === wanted)
          .map((piece) => piece.text)
          .join("")
      const decoded = (wanted: boolean) => tokenizer.decode(ids.filter((_, t) => supervised[t] === wanted))
      assert.equal(tokenizer.decode(ids), given.map((piece) => piece.text).join(""))
      assert.equal(decoded(true), joined(true))
      assert.equal(decoded(false), joined(false))
    })
  )
})

test("up to the answer the tokens are those that generation sees; all are the whole text's unless the border moved", () => {
  for (const dummySpace of [false, true]) {
    let moved = 0
    fc.assert(
      fc.property(text, text, (prompt, answer) => {
        const tokenizer = fakeTokenizer({ dummySpace })
        const encode = (part: string) => tokenizer.encode(part, { addSpecial: false })
        const encoded = encodePieces(tokenizer, [
          { text: prompt, supervised: false },
          { text: answer, supervised: true }
        ])
        assert.deepEqual(
          encoded.ids.filter((_, t) => !encoded.supervised[t]),
          prompt === "" ? [] : encode(prompt)
        )
        if (encoded.moved) moved++
        else assert.deepEqual(encoded.ids, encode(prompt + answer))
      }),
      { numRuns: 500 }
    )
    assert.ok(moved > 0 && moved < 400, `${moved} of 500 borders moved`)
  }
})
