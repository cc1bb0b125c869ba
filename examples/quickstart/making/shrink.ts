/** Rounds the weights that pretrain.ts saved to bf16, half the size: `bun shrink.ts MODEL OUT`. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { narrow, widen } from "@graft/core"
import { openSafetensors, writeSafetensors } from "@graft/safetensors"
import { Effect } from "effect"

const [model = "model", out = "small"] = process.argv.slice(2)
mkdirSync(out, { recursive: true })
const program = Effect.gen(function* () {
  const file = yield* openSafetensors(join(model, "model.safetensors"))
  yield* writeSafetensors(
    join(out, "model.safetensors"),
    file.names.map((name) => {
      const { shape, dtype, read } = file.get(name)!
      return { name, shape, dtype: "bf16", read: () => narrow(widen(read(), dtype), "bf16") }
    })
  )
})
await Effect.runPromise(Effect.scoped(program))
const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"))
writeFileSync(join(out, "config.json"), `${JSON.stringify({ ...config, torch_dtype: "bfloat16" }, null, 2)}\n`)
for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(model, name), join(out, name))
