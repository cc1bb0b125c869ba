/**
 * JSON as a file's header should be: what `JSON.parse` lets pass is refused where it would hide a lie. A key that comes
 * twice is an error (`JSON.parse` keeps the last), objects are Maps (no key reaches a prototype), nesting is bounded, and
 * only a number that is written as an integer and is exact in a double is a `number`.
 */

export type JsonValue = string | number | boolean | null | Inexact | ReadonlyArray<JsonValue> | JsonObject
export type JsonObject = ReadonlyMap<string, JsonValue>
/** A number with a fraction, an exponent, or more than 53 bits, as it was written. */
export interface Inexact {
  readonly written: string
}

const DEEPEST = 16
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y
const SPACE = /[ \t\n\r]*/y

/** @throws SyntaxError that says what is wrong and at which character */
export const strictJson = (text: string): JsonValue => {
  let at = 0
  const fail = (what: string): never => {
    throw new SyntaxError(`${what} at character ${at}`)
  }
  const skipSpace = (): void => {
    SPACE.lastIndex = at
    SPACE.test(text)
    at = SPACE.lastIndex
  }
  const readString = (): string => {
    const start = at
    at++
    let escaped = false
    for (;;) {
      const code = text.charCodeAt(at)
      if (code === 0x22) break
      if (!(code >= 0x20)) return fail("a string that does not end or holds a control character") // NaN at the end, too
      if (code === 0x5c) {
        escaped = true
        at++
      }
      at++
    }
    at++
    if (!escaped) return text.slice(start + 1, at - 1)
    try {
      return JSON.parse(text.slice(start, at)) as string // it begins and ends with a quote, so it is a string or throws
    } catch {
      at = start
      return fail("a string with an unknown escape")
    }
  }
  const readValue = (depth: number): JsonValue => {
    if (depth > DEEPEST) return fail(`more than ${DEEPEST} levels of nesting`)
    const first = text[at]
    if (first === "{") return readObject(depth)
    if (first === "[") return readArray(depth)
    if (first === '"') return readString()
    for (const [word, value] of WORDS) {
      if (text.startsWith(word, at)) {
        at += word.length
        return value
      }
    }
    NUMBER.lastIndex = at
    const match = NUMBER.exec(text)
    if (match === null) return fail("not a JSON value")
    at += match[0].length
    const value = Number(match[0])
    const exact = match[1] === undefined && match[2] === undefined && Number.isSafeInteger(value)
    return exact ? value : { written: match[0] }
  }
  const readArray = (depth: number): ReadonlyArray<JsonValue> => {
    const items: Array<JsonValue> = []
    at++
    skipSpace()
    if (text[at] === "]") {
      at++
      return items
    }
    for (;;) {
      skipSpace()
      items.push(readValue(depth + 1))
      skipSpace()
      const next = text[at]
      if (next !== "," && next !== "]") return fail('neither "," nor "]" in an array')
      at++
      if (next === "]") return items
    }
  }
  const readObject = (depth: number): JsonObject => {
    const entries = new Map<string, JsonValue>()
    at++
    skipSpace()
    if (text[at] === "}") {
      at++
      return entries
    }
    for (;;) {
      skipSpace()
      if (text[at] !== '"') return fail("an object's key that is no string")
      const key = readString()
      if (entries.has(key)) return fail(`the key ${JSON.stringify(key)} a second time`)
      skipSpace()
      if (text[at] !== ":") return fail('no ":" after a key')
      at++
      skipSpace()
      entries.set(key, readValue(depth + 1))
      skipSpace()
      const next = text[at]
      if (next !== "," && next !== "}") return fail('neither "," nor "}" in an object')
      at++
      if (next === "}") return entries
    }
  }
  skipSpace()
  const value = readValue(0)
  skipSpace()
  if (at !== text.length) return fail("something after the end of the value")
  return value
}

const WORDS: ReadonlyArray<readonly [string, boolean | null]> = [
  ["true", true],
  ["false", false],
  ["null", null]
]

export const isJsonObject = (value: JsonValue | undefined): value is JsonObject => value instanceof Map
