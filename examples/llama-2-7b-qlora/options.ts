/** What can be said on the command line, and whether the Hub would hand out the model. */
import { existsSync, mkdirSync, rmdirSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { knownShapes } from "@graft/cli"
import { HubError, hubSettings } from "@graft/hub"
import { Data, Effect } from "effect"

/** The default: its shapes are known, so that a run over it is planned before it is fetched. */
export const GATED = "meta-llama/Llama-2-7b-hf"

export class NotPossible extends Data.TaggedError("NotPossible")<{ readonly message: string }> {}

export const options = () => {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: GATED },
      data: { type: "string", default: "timdettmers/openassistant-guanaco" },
      out: { type: "string", default: "llama-2-7b-qlora" },
      synthetic: { type: "boolean", default: false },
      shapes: { type: "string", default: "llama-2-7b" },
      layers: { type: "string", default: "32" },
      tokens: { type: "string", default: "512" },
      steps: { type: "string", default: "10" },
      rank: { type: "string", default: "16" },
      accumulate: { type: "string", default: "16" }
    }
  })
  const number = (name: "layers" | "tokens" | "steps" | "rank" | "accumulate"): number => {
    const n = Number(values[name])
    if (Number.isSafeInteger(n) && n > 0) return n
    console.error(`--${name} is "${values[name]}", expected a whole number above 0`)
    return process.exit(1)
  }
  if (knownShapes[values.shapes] === undefined && !existsSync(values.shapes)) {
    const known = Object.keys(knownShapes).join(", ")
    console.error(`--shapes ${values.shapes} is neither a config.json nor one of ${known}`)
    return process.exit(1)
  }
  const numbers = {
    layers: number("layers"),
    tokens: number("tokens"),
    steps: number("steps"),
    rank: number("rank"),
    accumulate: number("accumulate")
  }
  if (mkdirSync(values.out, { recursive: true }) !== undefined) process.on("exit", () => removeEmpty(values.out))
  return { ...values, ...numbers }
}
const removeEmpty = (folder: string): void => {
  try {
    rmdirSync(folder)
  } catch {
    // it holds something: the run came to write
  }
}

const OTHER_WAYS = `or take weights that you have:
  bun examples/llama-2-7b-qlora/main.ts --model FOLDER|FILE.gguf
or its shapes with random weights (13.5 GB on the disk; fewer with --layers 2):
  bun examples/llama-2-7b-qlora/main.ts --synthetic`

/** A gated model needs a token, unless it lies in the cache already. */
export const requireAccess = (name: string, synthetic: boolean): Effect.Effect<void, NotPossible> =>
  Effect.suspend(() => {
    const { token, cache } = hubSettings()
    const cached = existsSync(join(cache, `models--${GATED.replace("/", "--")}`))
    if (synthetic || name !== GATED || token !== undefined || cached) return Effect.void
    return new NotPossible({
      message: `${GATED} is gated, and there is no HF_TOKEN. Ask for access at https://huggingface.co/${GATED}, make a token at https://huggingface.co/settings/tokens, and start this again with it:
  HF_TOKEN=hf_… bun examples/llama-2-7b-qlora/main.ts
${OTHER_WAYS}`
    })
  })

/** Where the Hub does not hand out the model, there are still the two other ways. */
export const explained = (error: Error): string =>
  error instanceof HubError && error.what.startsWith(GATED) ? `${error.message},\n${OTHER_WAYS}` : error.message
