import { synthFlags } from "../flags/synthFlags.ts"
import { verb } from "./verb.ts"

export const synth = verb("synth", {
  description: "Write a checkpoint of a model's exact shapes with random weights, to try a machine before a download",
  examples: [
    {
      command: "graft synth --config llama-2-7b --out ./synthetic-7b",
      description: "Llama-2-7b's names, shapes, types and files: 13.5 GB"
    },
    {
      command: "graft synth --config llama-65b --quantize nf4 --out ./synthetic-65b",
      description: "65 billion parameters in NF4 with double quantization: 35 GB, with no 131 GB before them"
    }
  ],
  config: synthFlags,
  load: () => import("../verbs/synth.ts").then((module) => module.synth)
})
