/**
 * The alphabet of byte-level BPE: each byte as a printable character, those that are one already as themselves, the others
 * from U+0100 on in order (openai/gpt-2, src/encoder.py, bytes_to_unicode).
 */

const printable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)

/** By byte. */
export const byteTexts: ReadonlyArray<string> = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

const byteOf: ReadonlyMap<string, number> = new Map(byteTexts.map((text, byte) => [text, byte]))

const encoder = new TextEncoder()

/** The bytes that a token's text stands for; a text with a character outside the alphabet stands for itself. */
export const byteLevelBytes = (token: string): Uint8Array => {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = byteOf.get(token[i]!)
    if (byte === undefined) return encoder.encode(token)
    bytes[i] = byte
  }
  return bytes
}
