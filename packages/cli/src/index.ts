/** `graft`, the command, as a function of its arguments; and a run in code. */
export { type FineTuneOptions, fineTune, type Recipe } from "./fineTune.ts"
export { runGraft } from "./runGraft.ts"
