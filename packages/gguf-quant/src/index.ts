/** A GGUF's quantised blocks as frozen weights. */
export * from "./blockWeight.ts"
export * from "./GgufBlocks.ts"
export * from "./ggufCodec.ts"
