/** The conformance suite on the reference backend: each optimiser in each width, resident and paged. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after } from "node:test"
import { type MakeOptimizer, oneArena, ReferenceQueue } from "@graft/core"
import { testOptimizer } from "@graft/testing"
import { adamRule, adamWRule, lionRule, sgdRule } from "./optimizers.ts"
import { pagedOptimizer, type StateOptions } from "./pagedOptimizer.ts"
import { SpillFolder } from "./SpillFolder.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-optimizers-"))
const spill = new SpillFolder(folder)
after(() => {
  spill.close()
  rmSync(folder, { recursive: true })
})
const group = { weightDecay: 0.1, groupFactors: { lora_B: 4 } }
const adam = { ...group, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 }
interface Optimizer {
  readonly name: string
  readonly make: (state: StateOptions) => MakeOptimizer
  readonly decays: boolean
}
const optimizers: ReadonlyArray<Optimizer> = [
  { name: "AdamW", make: (state) => pagedOptimizer(adamWRule(adam), state), decays: true },
  // Adam's weight decay is part of a gradient whose size it does not keep: what is small does not shrink.
  { name: "Adam", make: (state) => pagedOptimizer(adamRule({ ...adam, weightDecay: 0 }), state), decays: false },
  {
    name: "Lion",
    make: (state) => pagedOptimizer(lionRule({ ...group, beta1: 0.9, beta2: 0.99 }), state),
    decays: true
  },
  { name: "SGD", make: (state) => pagedOptimizer(sgdRule({ ...group, momentum: 0.9 }), state), decays: true }
]
/** The suite's parameters are few: a page of theirs holds a range or two. */
const widths: Readonly<Record<string, StateOptions>> = {
  "8 bits": { bits: 8, min8BitSize: 0 },
  "32 bits": { bits: 32, min8BitSize: 0 },
  "8 bits, paged": { bits: 8, min8BitSize: 0, paging: { residentBytes: 150, pageBytes: 150, spill } },
  "32 bits, paged": { bits: 32, min8BitSize: 0, paging: { residentBytes: 400, pageBytes: 400, spill } }
}
const noViews = { ...oneArena("reference without views"), views: false }
const backends = {
  reference: { limits: oneArena("reference"), open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes) },
  "without views": {
    limits: noViews,
    open: (bytes: ReadonlyArray<number>) => new ReferenceQueue(bytes, { limits: noViews })
  }
}
for (const [name, backend] of Object.entries(backends))
  for (const { name: optimizer, make, decays } of optimizers)
    for (const [width, state] of Object.entries(widths))
      testOptimizer(name, backend, { name: `${optimizer} in ${width}`, make: make(state), decays })
