/** What bench:peers compares. */
export interface SideArguments {
  /** A Hugging Face folder; null: Llama-2-7b's shapes with random weights; "gemm": products alone. */
  readonly model: string | null
  readonly layers: number
  readonly batch: number
  readonly tokens: number
  readonly rank: number
  readonly compute: "f32" | "bf16"
  readonly checkpointing: boolean
  readonly threads: number
  /** torch.set_float32_matmul_precision: "medium" sends f32 products from MKL to oneDNN where oneDNN is faster. */
  readonly precision: "highest" | "medium"
  /** A JSON file of token ids [steps][batch][tokens]. */
  readonly ids: string
}
export interface Configuration extends Omit<SideArguments, "ids" | "threads" | "precision" | "model"> {
  readonly name: string
  readonly model: "smollm2" | "llama-2-7b"
  /** The peers with glibc's allocator and torch's matmul tuned as a user can without code; else as installed. */
  readonly tuned: boolean
}

/** glibc then keeps big buffers instead of handing each back to the kernel. */
export const tunedEnvironment = {
  MALLOC_MMAP_MAX_: "0",
  MALLOC_TRIM_THRESHOLD_: "100000000000",
  MALLOC_TOP_PAD_: "268435456"
}

const small = { model: "smollm2", layers: 30, batch: 4, tokens: 512, rank: 16 } as const
const large = { model: "llama-2-7b", layers: 2, batch: 1, tokens: 512, rank: 16 } as const

export const configurations: ReadonlyArray<Configuration> = [
  { name: "135m-f32", ...small, compute: "f32", checkpointing: false, tuned: true },
  { name: "135m-f32-recomputed", ...small, compute: "f32", checkpointing: true, tuned: true },
  { name: "135m-f32-installed", ...small, compute: "f32", checkpointing: false, tuned: false },
  { name: "135m-bf16", ...small, compute: "bf16", checkpointing: false, tuned: true },
  { name: "135m-bf16-recomputed", ...small, compute: "bf16", checkpointing: true, tuned: true },
  { name: "135m-bf16-installed", ...small, compute: "bf16", checkpointing: false, tuned: false },
  { name: "7b-f32-recomputed", ...large, compute: "f32", checkpointing: true, tuned: true },
  { name: "7b-bf16", ...large, compute: "bf16", checkpointing: false, tuned: true },
  { name: "7b-bf16-recomputed", ...large, compute: "bf16", checkpointing: true, tuned: true }
]

/** [tokens, in, out] */
export const gemmShapes = [
  [512, 4096, 4096],
  [512, 4096, 11008],
  [512, 11008, 4096],
  [64, 4096, 4096],
  [2048, 576, 1536]
] as const

/** What was measured of one comparison. */
export interface PeerRow {
  readonly name: string
  readonly rounds: number
  readonly threads: number
  readonly versions?: unknown
  /** Medians. */
  readonly graftSeconds: number
  readonly peerSeconds: number
  /** Median of the rounds' peer seconds / Graft seconds. */
  readonly ratio: number
  readonly tokens?: number
  readonly graftBytes?: number
  readonly peerBytes?: number
  /** Graft's planned bytes, which the process's own come on top of. */
  readonly plannedBytes?: number
  readonly firstLosses?: readonly [graft: number, peer: number]
  /** Products: [tokens, in, out], the format of both sides (f32 where it is missing), the share of the peak of the same seconds. */
  readonly shape?: ReadonlyArray<number>
  readonly dtype?: "f32" | "bf16"
  readonly peakShare?: number
}
