/**
 * Names a model by its content, whole: the config and every byte of the files that hold its tensors, whatever they are
 * called and wherever they lie. A hash that is kept beside a file stands for its bytes; others are read in pieces beside the event loop: a run does it while it loads. Tensors that lie in no
 * file are known by what whoever made them says.
 */
import { createHash } from "node:crypto"
import { open, stat } from "node:fs/promises"
import type { TensorFile } from "@graft/core"
import { keptHash } from "@graft/safetensors"
import type { LlamaConfig } from "../config/LlamaConfig.ts"

const PIECE = 1 << 20

export const contentFingerprint = async (model: {
  readonly path: string
  readonly config: LlamaConfig
  readonly tensors: TensorFile
  readonly fingerprint: string
  readonly preparedFrom?: PreparedFrom
}): Promise<string> => {
  const { config, preparedFrom } = model
  const hashes = preparedFrom === undefined ? await contentHashes(model) : await preparedFrom.hashes()
  const of = preparedFrom === undefined ? config : { ...config, quantization: undefined }
  const hash = createHash("sha256").update(JSON.stringify(of))
  if (hashes.length === 0) hash.update(model.fingerprint)
  for (const one of hashes) hash.update(one)
  return hash.digest("hex").slice(0, 32)
}

/** A model whose tensors were made of another's, and which is named by that one's content. */
export interface PreparedFrom {
  /** The `contentHashes` of the source. */
  readonly hashes: () => Promise<ReadonlyArray<string>>
}

/** SHA-256 of each file of weights. Their order is that of their content, so that other names change nothing. */
export const contentHashes = async (model: {
  readonly path: string
  readonly tensors: TensorFile
}): Promise<ReadonlyArray<string>> => {
  const files = new Set(filesOf(model.tensors))
  if (files.size === 0 && (await isFile(model.path))) files.add(model.path)
  return (await Promise.all([...files].map(hashOf))).sort()
}

/** The files that tensors lie in, each once. */
export const filesOf = (tensors: TensorFile): ReadonlyArray<string> => [
  ...new Set(tensors.names.flatMap((name) => tensors.get(name)?.file?.path ?? []))
]

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false
  )

const hashOf = async (path: string): Promise<string> => {
  const kept = await keptHash(path)
  if (kept !== undefined) return kept
  const file = await open(path)
  try {
    const hash = createHash("sha256")
    const piece = new Uint8Array(PIECE)
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, PIECE)
      if (bytesRead === 0) return hash.digest("hex")
      hash.update(piece.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}
