/** The native CPU backend: C++ kernels behind N-API, on their own threads. */
export * from "./Cpu.ts"
export * from "./CpuQueue.ts"
export * from "./native.ts"
export * from "./Profile.ts"
export * from "./workOf.ts"
