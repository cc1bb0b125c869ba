/** Loads the modules and the library that `graft train` loads, does nothing, and prints the most memory that took. For tests. */
import * as nodeModule from "node:module"
import { loadNative } from "@graft/backend-cpu"
import { peakMemory } from "./show/peakMemory.ts"

nodeModule.enableCompileCache?.() // as main.ts does
await import("./runGraft.ts")
await import("./verbs/train.ts")
loadNative().info()
console.log(peakMemory())
