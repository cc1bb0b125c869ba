/** The families that are known, and finding one by each of its names. */
import { UnknownArchitecture } from "../config/ConfigError.ts"
import type { ArchitectureName } from "../config/LlamaConfig.ts"
import type { Architecture } from "./Architecture.ts"
import { gemma2 } from "./gemma2.ts"
import { gemma3 } from "./gemma3.ts"
import { llama } from "./llama.ts"
import { mistral } from "./mistral.ts"
import { phi3 } from "./phi3.ts"
import { qwen2 } from "./qwen2.ts"
import { qwen3 } from "./qwen3.ts"
import { smollm3 } from "./smollm3.ts"

/** By the name in a `LlamaConfig`. Of two with one GGUF id the first is what a GGUF opens as. */
export const architectures: Readonly<Record<ArchitectureName, Architecture>> = {
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  phi3,
  gemma2,
  gemma3
}
const all = Object.values(architectures)

export const architectureOf = ({ architecture }: { readonly architecture: ArchitectureName }): Architecture =>
  architectures[architecture]

/** By `architectures` and `model_type` of config.json. @throws UnknownArchitecture */
export const architectureOfFolder = (
  path: string,
  classes: ReadonlyArray<string>,
  modelType: string | undefined
): Architecture => {
  // Files written by hand sometimes name the type only.
  const found = all.find(({ huggingFace: { causalLM, modelType: type } }) =>
    classes.length > 0 ? classes.includes(causalLM) : type === modelType
  )
  if (found !== undefined) return found
  throw new UnknownArchitecture({
    path,
    architecture: classes.join(", ") || (modelType ?? "(none)"),
    known: all.map(({ huggingFace }) => huggingFace.causalLM)
  })
}

/** By `general.architecture` of a GGUF. @throws UnknownArchitecture */
export const architectureOfGguf = (path: string, id: string): Architecture => {
  const found = all.find(({ gguf }) => gguf.id === id)
  if (found !== undefined) return found
  throw new UnknownArchitecture({ path, architecture: id, known: [...new Set(all.map(({ gguf }) => gguf.id))] })
}
