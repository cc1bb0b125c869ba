import { exportFlags } from "../flags/exportFlags.ts"
import { verb } from "./verb.ts"

export const exportAdapter = verb("export", {
  description: "Write a trained adapter for another program: a GGUF that llama.cpp puts over its model",
  examples: [
    {
      command: "graft export --adapter my-adapter --model model.gguf --out my-adapter.gguf",
      description: "then `llama-cli --model model.gguf --lora my-adapter.gguf`"
    }
  ],
  config: exportFlags,
  load: () => import("../verbs/export.ts").then((module) => module.exportAdapter)
})
