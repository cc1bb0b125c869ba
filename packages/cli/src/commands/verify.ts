import { verifyFlags } from "../flags/verifyFlags.ts"
import { verb } from "./verb.ts"

export const verify = verb("verify", {
  description: "Compare predictions with llama.cpp's on the same GGUF, with and without the adapter",
  examples: [
    {
      command: "graft verify --model model.gguf --adapter my-adapter --against llama.cpp",
      description: "exit code 1 where they are further apart with the adapter than rounding explains"
    }
  ],
  config: verifyFlags,
  load: () => import("../verbs/verify.ts").then((module) => module.verify)
})
