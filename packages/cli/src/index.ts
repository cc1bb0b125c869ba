/** `graft`, the command, as a function of its arguments. */
export { runGraft } from "./runGraft.ts"
