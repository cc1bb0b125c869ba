/** 4-bit frozen weights, NF4 and FP4, in bitsandbytes' format. */
export * from "./bitsandbytes.ts"
export * from "./codebooks.ts"
export * from "./fourBitCodec.ts"
export * from "./Nf4.ts"
export * from "./plainScales.ts"
export * from "./quantize4bit.ts"
