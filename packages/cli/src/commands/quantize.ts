import { quantizeFlags } from "../flags/quantizeFlags.ts"
import { verb } from "./verb.ts"

export const quantize = verb("quantize", {
  description: "Write a model in 4 bits, as bitsandbytes does, or say what 4 bits would cost it",
  examples: [
    {
      command: "graft quantize --model ./SmolLM2-135M-Instruct --out ./SmolLM2-nf4",
      description: "NF4 with double quantization: a folder that transformers and `graft train` load"
    },
    {
      command: "graft quantize --model ./SmolLM2-135M-Instruct --report --text held-out.txt",
      description: "errors of the weights, and the rise of perplexity on a text"
    }
  ],
  config: quantizeFlags,
  load: () => import("../verbs/quantize.ts").then((module) => module.quantize)
})
