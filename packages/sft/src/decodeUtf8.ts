/** Bytes as text, a byte order mark dropped; `malformed` makes the error for bytes that are not UTF-8. */
export async function* decodeUtf8(
  chunks: AsyncIterable<Uint8Array>,
  malformed: (problem: string) => Error
): AsyncGenerator<string, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true })
  const decode = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true })
    } catch {
      throw malformed("the bytes are not UTF-8; save the file as UTF-8")
    }
  }
  for await (const chunk of chunks) yield decode(chunk)
  yield decode()
}
