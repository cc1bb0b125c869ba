/** Optimisers whose state pages under a byte budget: AdamW, Adam, Lion and SGD, in 32 bits and in 8. */
export { PagedAdam, PagedAdamW, PagedLion, PagedSgd } from "./optimizerLayers.ts"
export {
  type AdamOptions,
  adamRule,
  adamWRule,
  type GroupOptions,
  type LionOptions,
  lionRule,
  type SgdOptions,
  sgdRule
} from "./optimizers.ts"
export { pagedOptimizer, type StateOptions, type UpdateRule } from "./pagedOptimizer.ts"
export { SpillError } from "./SpillError.ts"
export { SpillFolder } from "./SpillFolder.ts"
export type { Bits, States } from "./stateRecord.ts"
export type { Place } from "./updateKernels.ts"
