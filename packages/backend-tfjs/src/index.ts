/** Any TensorFlow.js backend as a Graft backend. */
export type * from "./TensorFlow.ts"
export * from "./Tfjs.ts"
export * from "./TfjsQueue.ts"
