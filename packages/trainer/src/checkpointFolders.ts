/** The names of a run's checkpoints in its folder: the last, the one before it, and one that is being written. */
export const STATE = "state"
export const PREVIOUS = "state.previous"
export const NEXT = ".state.next"
export const CHECKPOINTS = [STATE, PREVIOUS, NEXT]
