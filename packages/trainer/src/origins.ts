/** Who enqueues besides the ops of the tape: what a profile and a plan call these commands. */

/** They bring a batch. */
export const BATCH = "batch"
/** They are behind the gradients. */
export const OPTIMISER = "optimiser"
