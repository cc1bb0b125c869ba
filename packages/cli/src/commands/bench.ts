import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe, off } from "../flags/maybe.ts"
import { positiveInt } from "../flags/numbers.ts"
import { json } from "../flags/outputFlags.ts"
import { verb } from "./verb.ts"

const benchFlags = {
  threads: maybe(
    positiveInt("threads").pipe(Flag.withDescription("worker threads (default: the cores this process may use)"))
  ),
  isa: maybe(
    Flag.String("isa").pipe(Flag.withMetavar("NAME"), Flag.withDescription("measure a lower instruction set"))
  ),
  tokens: positiveInt("tokens").pipe(
    Flag.withDefault(512),
    Flag.withDescription("tokens of a step of the layer (default 512)")
  ),
  composed: off("composed", "the layer with composed ops beside the fused ones"),
  recomputed: off("recomputed", "the layer computed again in backward beside the one that keeps what it made"),
  json
}
export type BenchInput = Command.Command.Config.Infer<typeof benchFlags>

export const bench = verb("bench", {
  description:
    "What training reaches on this machine (half a minute): a layer of Llama-2-7b, against the peak of the same seconds",
  examples: [{ command: "graft bench", description: "dense and 4-bit weights, one thread and all" }],
  config: benchFlags,
  load: () => import("../verbs/bench.ts").then((module) => module.bench)
})
