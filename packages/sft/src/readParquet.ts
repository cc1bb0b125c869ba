/** Parquet, a row group at a time: memory holds the largest row group. Decoded by hyparquet. */
import { open } from "node:fs/promises"
import * as zlib from "node:zlib"
import { type AsyncBuffer, type Compressors, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { UnreadableData } from "./DataError.ts"
import type { RawRow } from "./RowFile.ts"

/** What the runtime itself decompresses; Snappy, the usual one, is hyparquet's own. Zstandard came to Node in 22.15. */
const compressors: Compressors = {
  GZIP: (input) => new Uint8Array(zlib.gunzipSync(input)),
  BROTLI: (input) => new Uint8Array(zlib.brotliDecompressSync(input)),
  ...("zstdDecompressSync" in zlib
    ? { ZSTD: (input: Uint8Array) => new Uint8Array(zlib.zstdDecompressSync(input)) }
    : {})
}

export async function* readParquet(path: string, name: string): AsyncGenerator<ReadonlyArray<RawRow>, void> {
  const handle = await open(path, "r")
  try {
    const byteLength = (await handle.stat()).size
    const readBytes = async (start: number, end: number): Promise<ArrayBuffer> => {
      if (!(start >= 0 && end >= start && end <= byteLength)) {
        throw new RangeError(`bytes ${start} … ${end} lie outside the file's ${byteLength}`)
      }
      const bytes = new Uint8Array(end - start)
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start)
      if (bytesRead < bytes.length) throw new RangeError("the file was cut short while it was read")
      return bytes.buffer
    }
    const file: AsyncBuffer = {
      byteLength,
      slice: (start, end = byteLength) => {
        const bytes = readBytes(start, end)
        bytes.catch(() => {}) // hyparquet asks for several at once and awaits only up to the first that fails
        return bytes
      }
    }
    let row = 0
    const metadata = await decode(name, () => parquetMetadataAsync(file))
    for (const group of metadata.row_groups) {
      const rowStart = row
      const rowEnd = row + Number(group.num_rows)
      const objects = await decode(name, () => parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd }))
      row = rowEnd
      yield objects.map((value, i) => ({
        place: { file: name, unit: "row", number: rowStart + i + 1 },
        value: plain(value)
      }))
    }
  } finally {
    await handle.close()
  }
}

const decode = async <A>(file: string, run: () => Promise<A>): Promise<A> => {
  try {
    return await run()
  } catch (error) {
    throw new UnreadableData({
      file,
      problem: `not a Parquet file that can be read: ${error instanceof Error ? error.message : String(error)}`
    })
  }
}

/** 64-bit integers come as bigint; token ids fit a number, and what does not is refused where it is used. */
const plain = (value: unknown): unknown => {
  if (typeof value === "bigint") return Number(value)
  if (Array.isArray(value)) return value.map(plain)
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as ArrayLike<unknown>, plain) // a typed array
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]))
  }
  return value
}
