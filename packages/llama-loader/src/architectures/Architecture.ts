/**
 * What sets a family of models apart: how its config.json is read and written, what its GGUF says otherwise, which parts its
 * layers have. Everything else is shared. docs/add-an-architecture.md goes through a new one.
 */
import type { Block } from "../block/Layer.ts"
import type { HuggingFaceConfig } from "../config/huggingFaceSchema.ts"
import type { ArchitectureName, LlamaConfig } from "../config/LlamaConfig.ts"

/** Fields of a `LlamaConfig`, on the way to be checked. */
export type Fields = { readonly [K in keyof LlamaConfig]?: unknown }

/** Ends the reading of a description, with what does not hold. */
export type Fail = (what: string) => never

/** What a family's part reads of a GGUF: its own keys without the architecture before them, and the other fields. */
export interface GgufKeys {
  readonly number: (key: string) => number | undefined
  readonly fields: {
    readonly hiddenSize: number
    readonly layers: number
    readonly heads: number
    readonly headDim: number
  }
  /** A flag for each layer. */
  readonly each: (rule: (layer: number) => boolean) => ReadonlyArray<boolean>
  readonly fail: Fail
}

export interface Architecture {
  readonly name: ArchitectureName
  /** For people. */
  readonly label: string
  /** Of the gate, as config.json names it; `block` computes it. */
  readonly activation: "silu" | "gelu_pytorch_tanh"
  readonly block: Block
  /** Gains are 1 + weight. */
  readonly shiftedNorms?: true

  readonly huggingFace: {
    /** Of `architectures`, and what `model_type` says. */
    readonly causalLM: string
    readonly modelType: string
    /** Values of keys that a config.json leaves out, as transformers' configuration class has them. */
    readonly defaults?: { readonly [K in keyof HuggingFaceConfig]?: HuggingFaceConfig[K] }
    /** Fields beyond those of a Llama, or read in another way. */
    readonly decode?: (config: HuggingFaceConfig, fail: Fail) => Fields
    /** Keys of config.json beyond those of a Llama; `undefined` takes one away. `rope` is its rotary embedding as it would stand there. */
    readonly encode?: (
      config: LlamaConfig,
      rope: Readonly<Record<string, unknown>>
    ) => Readonly<Record<string, unknown>>
  }

  readonly gguf: {
    /** `general.architecture` */
    readonly id: string
    /** llama.cpp turns the numbers 2i and 2i + 1 of a head, and its converter permutes rows: see gguf/rotaryRows.ts. */
    readonly pairedRows?: true
    /** Its names of a layer's tensors and Hugging Face's, beyond a Llama's or instead of them. */
    readonly names?: Readonly<Record<string, string>>
    readonly decode?: (keys: GgufKeys) => Fields
  }
}
