import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { type ByteSource, memorySource } from "./ByteSource.ts"
import { int64Bytes, integersOf } from "./integers.ts"
import { mutateBytes } from "./mutateBytes.ts"
import { parseSafetensors } from "./parseSafetensors.ts"
import { SafetensorsError } from "./SafetensorsError.ts"
import { safetensorsLayout } from "./writeSafetensors.ts"

const golden = (name: string): string => fileURLToPath(new URL(`../../../../shared/golden/${name}`, import.meta.url))

/** A file of the given header text and `payload` bytes of tensors. */
const fileOf = (header: string, payload: number): Uint8Array => {
  const text = new TextEncoder().encode(header)
  const bytes = new Uint8Array(8 + text.length + payload)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(text, 8)
  return bytes
}

const refuses = (name: string, bytes: Uint8Array, message: RegExp): void => {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => parseSafetensors(memorySource("x.safetensors", bytes)),
      (error) => error instanceof SafetensorsError && error.path === "x.safetensors" && message.test(error.message)
    )
  })
}

// Where a clone has it beside it.
const testGolden = existsSync(golden("tiny-llama")) ? test : () => {}
testGolden("lists and reads the tensors of a file from Python", () => {
  const file = parseSafetensors(memorySource("golden", readFileSync(golden("tiny-llama/logits.safetensors"))))
  assert.deepEqual(file.tensors.get("logits")?.shape, [2, 64, 512])
  const ids = file.tensors.get("input_ids")!
  assert.equal(ids.dtype, "I64")
  const values = integersOf(ids)
  assert.equal(values.length, 128)
  assert.ok(values.every((id) => id >= 0 && id < 512))
  assert.deepEqual(int64Bytes(values), Uint8Array.from(ids.read()))
  assert.equal(file.get("logits")?.dtype, "f32")
  assert.equal(file.get("logits")?.read().byteLength, 2 * 64 * 512 * 4)
  assert.equal(file.get("nothing"), undefined)
  assert.throws(() => file.get("input_ids"), SafetensorsError)
  const model = parseSafetensors(memorySource("golden", readFileSync(golden("tiny-llama/model.safetensors"))))
  assert.equal(model.metadata.get("format"), "pt")
  assert.equal(model.names.length, 4 * 9 + 3)
})

const one = (entry: string): string => `{"t":${entry}}`

refuses("a file of seven bytes", new Uint8Array(7), /has 7 bytes/)
refuses("a header longer than the file", fileOf("{}", 0).subarray(0, 9), /claims 2 bytes, and 1 follow/)
refuses("a header of 2^63 bytes", Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 128, 0x7b, 0x7d]), /9223372036854775808/)
refuses("a header that is no object", fileOf("[]", 0), /does not begin with \{/)
refuses("a header that is no UTF-8", Uint8Array.from([3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff, 0x7d]), /not UTF-8/)
refuses("a header that is no JSON", fileOf('{"t":}', 0), /not a JSON value at character 5/)
refuses(
  "a tensor named twice",
  fileOf(
    '{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    1
  ),
  /"t" a second time/
)
refuses("deep nesting", fileOf(`{"t":${"[".repeat(5000)}`, 0), /levels of nesting/)
refuses("an unknown dtype", fileOf(one('{"dtype":"F31","shape":[1],"data_offsets":[0,4]}'), 4), /"F31"; known are/)
refuses(
  "a dtype from the prototype",
  fileOf(one('{"dtype":"toString","shape":[1],"data_offsets":[0,4]}'), 4),
  /"toString"/
)
refuses("a negative size", fileOf(one('{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}'), 4), /no list of sizes/)
refuses("a fractional size", fileOf(one('{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}'), 4), /no list of sizes/)
refuses(
  "a size beyond 2^53",
  fileOf(one('{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}'), 4),
  /no list of sizes/
)
refuses(
  "sizes whose product overflows",
  fileOf(one('{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}'), 4),
  /does not take/
)
refuses(
  "a range of another length",
  fileOf(one('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}'), 4),
  /does not take the 4 bytes/
)
refuses(
  "a range beyond the end",
  fileOf(one('{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'), 4),
  /has 4 bytes of tensors/
)
refuses("a range backwards", fileOf(one('{"dtype":"F32","shape":[0],"data_offsets":[4,0]}'), 4), /\[4, 0\)/)
refuses("a hole", fileOf(one('{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'), 8), /a hole/)
refuses(
  "an overlap",
  fileOf(
    '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
    6
  ),
  /overlap/
)
refuses(
  "bytes that no tensor claims",
  fileOf(one('{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'), 5),
  /the file at/
)
refuses("metadata that is no text", fileOf('{"__metadata__":{"a":1}}', 0), /strings only/)
refuses("something after the header's object", fileOf("{} x", 0), /after the end/)

test("takes an empty tensor, a scalar and a name that would be a prototype's", () => {
  const header =
    '{"__proto__":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  '
  const file = parseSafetensors(memorySource("x", fileOf(header, 4)))
  assert.deepEqual(file.names, ["__proto__", "s"])
})

test("a hundred thousand damaged files: typed errors only, and nothing asked for beyond the file", {
  timeout: 120_000
}, () => {
  const tensor = (name: string, dtype: "F32" | "I64" | "U8", shape: ReadonlyArray<number>) => ({
    name,
    dtype,
    shape,
    read: () => new Uint8Array(0)
  })
  const { header } = safetensorsLayout([
    tensor("model.a", "F32", [2, 3]),
    tensor("model.b", "I64", [3]),
    tensor("c", "U8", [5])
  ])
  const sound = new Uint8Array(header.length + 24 + 24 + 5)
  sound.set(header)
  let longest = 0
  let accepted = 0
  for (let seed = 1; seed <= 100_000; seed++) {
    const bytes = mutateBytes(sound, seed)
    const inner = memorySource("x", bytes)
    const source: ByteSource = {
      ...inner,
      read: (offset, length) => {
        longest = Math.max(longest, length - bytes.length)
        return inner.read(offset, length)
      }
    }
    try {
      for (const tensor of parseSafetensors(source).tensors.values()) assert.equal(tensor.read().length, tensor.bytes)
      accepted++
    } catch (error) {
      if (!(error instanceof SafetensorsError)) throw new Error(`seed ${seed}`, { cause: error })
    }
  }
  assert.ok(longest <= 0, "asked for more than the file has")
  assert.ok(accepted > 100 && accepted < 50_000, `${accepted} of the damaged files passed`)
})
