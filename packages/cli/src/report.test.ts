/** TensorBoard's files byte by byte, and a report that holds what it shows and asks nobody for more. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { temporaryFolder } from "./commandUnderTest.ts"
import { eventFile } from "./report/eventFile.ts"
import { reportPage } from "./report/reportPage.ts"

test("event files are records with checksums", () => {
  const file = eventFile(temporaryFolder(), () => 1.5)
  file.scalars(300, { "train/loss": 0.25 })
  const bytes = readFileSync(file.path)
  // wall_time 1.5, file_version "brain.Event:2"; framed as TensorFlow's own writer frames them.
  const version = `09000000000000f83f1a0d${Buffer.from("brain.Event:2").toString("hex")}`
  const head = Buffer.from(version, "hex")
  assert.equal(bytes.readBigUInt64LE(0), BigInt(head.byteLength))
  assert.equal(bytes.readUInt32LE(8), maskedCrc(bytes.subarray(0, 8)))
  assert.deepEqual(bytes.subarray(12, 12 + head.byteLength), head)
  assert.equal(bytes.readUInt32LE(12 + head.byteLength), maskedCrc(head))
  const second = bytes.subarray(16 + head.byteLength)
  const scalar = "09000000000000f83f10ac022a130a110a0a747261696e2f6c6f7373150000803e"
  assert.equal(second.subarray(12, -4).toString("hex"), scalar)
  assert.equal(second.readUInt32LE(second.byteLength - 4), maskedCrc(second.subarray(12, -4)))
})

/** Bit by bit, from the definition: CRC-32C, rotated and offset. */
const maskedCrc = (data: Uint8Array): number => {
  let crc = 0xffffffffn
  for (const byte of data) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n
  }
  crc ^= 0xffffffffn
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn)
}

test("the checksum of the standard's check string", () => {
  assert.equal(
    maskedCrc(new TextEncoder().encode("123456789")),
    Number((((0xe3069283n >> 15n) | (0xe3069283n << 17n)) + 0xa282ead8n) & 0xffffffffn)
  )
})

test("a report needs no network, and text of a model cannot become markup", () => {
  const hostile = `</script><script>alert("x")</script><img src=x onerror=alert(1)>`
  const page = reportPage({
    title: hostile,
    facts: [[hostile, hostile]],
    charts: [{ title: hostile, x: [1, 2], xLabel: "step", lines: [{ label: hostile, values: [1, null] }] }],
    samples: [{ prompt: hostile, before: hostile, after: hostile }],
    recipe: hostile,
    versions: hostile
  })
  assert.ok(!page.includes("<img src=x") && !page.includes('<script>alert("x")'))
  assert.doesNotMatch(page.replaceAll("http://www.w3.org/", ""), /(src|href)\s*=\s*["']?https?:/)
  const data = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)?.[1] ?? ""
  assert.equal((JSON.parse(data) as Array<{ title: string }>)[0]?.title, hostile) // what the page was given
  assert.match(page, /uPlot/)
})
