/** The conformance suites: what a backend, an op, a weight, an adapter, an optimiser or a runtime must do. */
export * from "./BackendUnderTest.ts"
export * from "./closeness.ts"
export * from "./KernelCase.ts"
export * from "./tensorOf.ts"
export * from "./testKernels.ts"
export * from "./testQueue.ts"
