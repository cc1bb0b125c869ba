/** Double quantization: the scales of quantised weights in 8 bits. */
export * from "./doubleQuant.ts"
export * from "./dynamicMap.ts"
export * from "./torchMean.ts"
