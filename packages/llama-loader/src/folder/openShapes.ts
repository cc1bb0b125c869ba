/** A model of which only the config is there: what a plan needs, since a plan reads no weight. */
import { createHash } from "node:crypto"
import { basename } from "node:path"
import type { DType, SourceTensor } from "@graft/core"
import { decodeHuggingFace } from "../config/decodeHuggingFace.ts"
import { describe } from "./describe.ts"
import { expectedTensors } from "./expectedTensors.ts"
import type { OpenedModel } from "./openModel.ts"

const dtypes: Readonly<Record<string, DType>> = { float32: "f32", float16: "f16", bfloat16: "bf16" }

/** `raw` is config.json's content, `path` names it. The weights have the config's dtype, bf16 where it says none. @throws ConfigError */
export const openShapes = (path: string, raw: unknown): OpenedModel => {
  const config = decodeHuggingFace(path, raw)
  const said = typeof raw === "object" && raw !== null && "torch_dtype" in raw ? String(raw.torch_dtype) : ""
  const dtype = dtypes[said] ?? "bf16"
  const tensors = new Map(
    [...expectedTensors(config)].map(({ name, shape }): [string, SourceTensor] => [
      name,
      { name, shape, dtype, read: () => unread(path, name) }
    ])
  )
  return {
    path,
    config,
    tensors: { names: [...tensors.keys()], get: (name) => tensors.get(name) },
    tokenizer: undefined,
    chatTemplate: undefined,
    stopIds: config.eosTokenIds,
    description: `${basename(path)}: ${describe(config)}; shapes alone, ${dtype}`,
    fingerprint: createHash("sha256").update(JSON.stringify(config)).digest("hex").slice(0, 32),
    notes: []
  }
}
const unread = (path: string, name: string): never => {
  throw new ReferenceError(`${path} has no weights: ${name} cannot be read, only planned`)
}
