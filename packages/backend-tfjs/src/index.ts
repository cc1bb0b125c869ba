/** Any TensorFlow.js backend as a Graft backend. */
export * from "./findTfjs.ts"
export type * from "./TensorFlow.ts"
export * from "./Tfjs.ts"
export * from "./TfjsQueue.ts"
