/** `graft`, the command, as a function of its arguments; a run in code; models by the names that the command takes. */
export { type FineTuneOptions, fineTune, type Recipe } from "./fineTune.ts"
export { type PreparedOptions, preparedModel } from "./prepared/preparedModel.ts"
export { runGraft } from "./runGraft.ts"
export { makeScreen, type Screen } from "./show/Screen.ts"
export { openNamed } from "./stack/openNamed.ts"
export { knownShapes } from "./synth/knownShapes.ts"
