/** What is live while a step's commands are enqueued, which is what will be live while they run. */
import { type Category, type Command, MetaQueue } from "@graft/core"

/** A meta queue that notes, at each command while it watches, the bytes of each category. */
export class WatchedQueue extends MetaQueue {
  /** One step is enough: a run has hundreds of shapes, each of thousands of commands. */
  watching = false
  readonly moments: Array<ReadonlyMap<Category, number>> = []
  protected override submit(command: Command): void {
    super.submit(command)
    if (this.watching) this.moments.push(new Map(this.allocator.live))
  }
}

/** Points that are kept: more than a page has to show. */
const POINTS = 200

/** By category, at most 200 moments in order; of those that fall together the one with the most in all is kept. */
export const memoryOverStep = (
  moments: ReadonlyArray<ReadonlyMap<Category, number>>
): ReadonlyMap<Category, ReadonlyArray<number>> => {
  const total = (moment: ReadonlyMap<Category, number>) => [...moment.values()].reduce((a, b) => a + b, 0)
  const width = Math.max(1, moments.length / POINTS)
  const kept: Array<ReadonlyMap<Category, number>> = []
  for (let from = 0; from < moments.length; from += width) {
    const together = moments.slice(Math.floor(from), Math.max(Math.floor(from) + 1, Math.floor(from + width)))
    kept.push(together.reduce((best, one) => (total(one) > total(best) ? one : best)))
  }
  const categories = new Set(kept.flatMap((moment) => [...moment.keys()]))
  return new Map([...categories].map((category) => [category, kept.map((moment) => moment.get(category) ?? 0)]))
}
