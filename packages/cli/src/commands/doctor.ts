import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { maybe, off } from "../flags/maybe.ts"
import { positiveInt } from "../flags/numbers.ts"
import { json } from "../flags/outputFlags.ts"
import { verb } from "./verb.ts"

const doctorConfig = {
  threads: maybe(
    positiveInt("threads").pipe(Flag.withDescription("worker threads (default: the cores this process may use)"))
  ),
  isa: maybe(
    Flag.String("isa").pipe(Flag.withMetavar("NAME"), Flag.withDescription("measure a lower instruction set"))
  ),
  quick: off("quick", "say what is there and measure nothing"),
  json
}
export type DoctorInput = Command.Command.Config.Infer<typeof doctorConfig>

export const doctor = verb("doctor", {
  description: "This machine, what it measures (some ten seconds), and which backends would load",
  examples: [{ command: "graft doctor", description: "what to expect of this machine" }],
  config: doctorConfig,
  load: () => import("../verbs/doctor.ts").then((module) => module.doctor)
})
