/** Frozen weights that stream from their file under a byte budget: models larger than memory. */
export { WeightStream } from "./WeightStream.ts"
export { WeightStreamError } from "./WeightStreamError.ts"
