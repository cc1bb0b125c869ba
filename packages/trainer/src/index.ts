/** The training loop: sessions, memory plans, a run as a stream of events, checkpoints in a folder. */
export * from "./FolderStore.ts"
export * from "./plan.ts"
export { dataProblem } from "./runTraining.ts"
export * from "./Session.ts"
export * from "./schedule.ts"
export * from "./Trainer.ts"
