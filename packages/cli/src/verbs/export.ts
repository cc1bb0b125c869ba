/** `graft export`: a trained adapter in the format of another program. */
import { existsSync } from "node:fs"
import { mkdir, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { writeGguf } from "@graft/gguf"
import { TOKENIZER_FILES } from "@graft/llama-loader"
import { readAdapter } from "@graft/lora"
import { type ByteSource, fileError, openFile, replaceFile, requireSpace } from "@graft/safetensors"
import { Effect } from "effect"
import type { ExportInput } from "../flags/exportFlags.ts"
import { bytes } from "../show/quantities.ts"
import { makeScreen } from "../show/Screen.ts"
import { ggufAdapter } from "../stack/ggufAdapter.ts"
import { openNamed } from "../stack/openNamed.ts"

export const exportAdapter = Effect.fnUntraced(function* ({ adapter, model: path, format, out, json }: ExportInput) {
  const screen = makeScreen(json)
  const model = yield* openNamed(path)
  const folder = yield* readAdapter(adapter)
  // Whatever is written, the adapter must fit the model.
  const gguf = format === "gguf" ? yield* ggufAdapter(folder, adapter, model) : undefined
  const size =
    gguf === undefined
      ? yield* sizeOfFiles(folderFiles(adapter))
      : gguf.tensors.reduce((n, tensor) => n + tensor.bytes.length, 0)
  yield* requireSpace(
    [{ path: out, bytes: size, what: "the adapter" }],
    "make room, or write to another disk with --out"
  )
  if (gguf === undefined) {
    yield* copyFolder(adapter, out)
    screen.say(`${out}: adapter_config.json and adapter_model.safetensors`)
  } else {
    yield* writeGguf(out, gguf.metadata, gguf.tensors)
    screen.say(`${out}: ${gguf.tensors.length / 2} linears, ${bytes(size)}, for llama.cpp over ${path}`)
    if (path.endsWith(".gguf")) screen.say(`  graft verify --model ${path} --adapter ${adapter} --against llama.cpp`)
  }
  screen.event({ event: "Export", path: out, format, tensors: folder.values.size })
}, Effect.scoped)

/** A tokenizer lies there if the adapter has tokens of its own, or if PEFT's trainer put it there. */
const folderFiles = (adapter: string): ReadonlyArray<string> =>
  [
    "adapter_config.json",
    "adapter_model.safetensors",
    ...TOKENIZER_FILES.filter((name) => existsSync(join(adapter, name)))
  ].map((name) => join(adapter, name))
const sizeOfFiles = (paths: ReadonlyArray<string>) =>
  Effect.map(
    Effect.forEach(paths, (path) =>
      Effect.tryPromise({ try: () => stat(path), catch: (cause) => fileError(path, "read", cause) })
    ),
    (found) => found.reduce((sum, { size }) => sum + size, 0)
  )

const PIECE = 2 ** 20

function* piecesOf({ size, read }: ByteSource): Generator<Uint8Array> {
  for (let at = 0; at < size; at += PIECE) yield read(at, Math.min(PIECE, size - at))
}

const copyFolder = Effect.fnUntraced(function* (from: string, to: string) {
  yield* Effect.tryPromise({ try: () => mkdir(to, { recursive: true }), catch: (e) => fileError(to, "write", e) })
  for (const path of folderFiles(from)) {
    yield* Effect.scoped(
      Effect.flatMap(openFile(path), (source) => replaceFile(join(to, basename(path)), piecesOf(source)))
    )
  }
})
