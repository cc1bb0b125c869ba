/**
 * Which layer lies in which frame, settled before a run. As many layers as the budget has room for keep a frame of their own
 * for ever, spread evenly, so that there is time for the others; these stream through a ring of the remaining frames, each
 * always through the same one. A step goes through the layers forwards and then backwards, so what the ring holds at a turn is
 * what comes next, and each pass reads all layers but as many as there are frames: no order of replacement reads less.
 */

export interface LayerFrames {
  readonly frames: number
  readonly frameOf: (layer: number) => number
  /** What its frame is for next, if another layer comes on the way. `repeats`: after the last layer the first comes. */
  readonly next: (layer: number, direction: 1 | -1, repeats: boolean) => number | undefined
  /** What each frame holds first, in the order of a forward pass. */
  readonly firsts: ReadonlyArray<number>
}
/** One layer in use and one on its way. */
export const FEWEST_FRAMES = 2
/** With room for it, two on their way. */
const RING = 3

/** `frames` is at least FEWEST_FRAMES, or all layers. */
export const layerFrames = (layers: number, frames: number): LayerFrames => {
  const ring = frames >= layers ? 0 : frames < 2 * RING ? FEWEST_FRAMES : RING
  const kept = Math.min(frames, layers) - ring
  const keptBefore = (layer: number): number => Math.floor((layer * kept) / layers)
  const keeps = (layer: number): boolean => keptBefore(layer + 1) > keptBefore(layer)
  const streamed = Array.from({ length: layers }, (_, i) => i).filter((i) => !keeps(i))
  const place = new Map(streamed.map((layer, i) => [layer, i]))
  return {
    frames: kept + ring,
    frameOf: (layer) => {
      const at = place.get(layer)
      return at === undefined ? ring + keptBefore(layer) : at % ring
    },
    next: (layer, direction, repeats) => {
      const at = place.get(layer)
      if (at === undefined) return undefined
      const found = streamed[at + direction * ring] ?? (repeats && direction > 0 ? streamed[at % ring] : undefined)
      return found === layer ? undefined : found
    },
    firsts: Array.from({ length: layers }, (_, i) => i).filter((i) => (place.get(i) ?? -1) < ring)
  }
}
