/**
 * SentencePiece's precompiled map of characters (google/sentencepiece, src/normalizer.cc, DecodePrecompiledCharsMap): u32 size
 * of a trie, the trie, and the texts that its leaves point to, each ended by a NUL. The trie is darts-clone's double array:
 * a unit's child under byte b lies at the unit's place XOR its offset XOR b, and bears b as its label.
 */
import { MalformedMessage } from "./protobuf.ts"

export interface CharsMap {
  /** The longest text at `at` that the map replaces, and what for. */
  readonly longest: (
    bytes: Uint8Array,
    at: number
  ) => { readonly length: number; readonly text: Uint8Array } | undefined
}

/** @throws MalformedMessage */
export const readCharsMap = (bytes: Uint8Array): CharsMap => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const size = bytes.length >= 4 ? view.getUint32(0, true) : 0
  if (size === 0 || size % 4 !== 0 || size > bytes.length - 4)
    throw new MalformedMessage(`its map of characters has ${bytes.length} bytes, and says that its trie has ${size}`)
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
  const texts = bytes.subarray(4 + size)
  const textAt = (at: number): Uint8Array => {
    const end = texts.indexOf(0, at)
    return texts.subarray(at, end < 0 ? texts.length : end)
  }
  return {
    longest: (text, at) => {
      let node = offsetOf(units[0]!)
      let found: { length: number; text: Uint8Array } | undefined
      for (let i = at; i < text.length; i++) {
        node ^= text[i]!
        const unit = units[node]
        // A leaf's label has its highest bit set, so that it is equal to no byte.
        if (unit === undefined || (unit & 0x800000ff) !== text[i]) break
        node ^= offsetOf(unit)
        const leaf = (unit >>> 8) & 1 ? units[node] : undefined
        if (leaf !== undefined) found = { length: i + 1 - at, text: textAt(leaf & 0x7fffffff) }
      }
      return found
    }
  }
}

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)
