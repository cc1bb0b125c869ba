/**
 * Pre-trains the embedded model of the quickstart from nothing, with Graft: all weights of a small Llama on the texts that
 * make_text.py wrote. usage: bun pretrain.ts TEXTS OUT [STEPS [RATE [SEED [ROWS]]]]
 * It goes on from OUT's checkpoint if there is one. A second cycle over other rows: put the first one's model.safetensors into
 * OUT/start and give a smaller rate and another seed.
 */
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { Cpu } from "@graft/backend-cpu"
import { AdamW, Dense, type TrainEvent } from "@graft/core"
import { decodeHuggingFace, FullTraining, LlamaLoader, openModel, randomTensors } from "@graft/llama-loader"
import { writeSafetensors } from "@graft/safetensors"
import { Sft } from "@graft/sft"
import { FolderStore, Trainer } from "@graft/trainer"
import { Effect, Layer, Stream } from "effect"

const [texts = "texts", out = "model", steps = "1600", rate = "4e-3", seed = "0", rows = "pretrain.jsonl"] =
  process.argv.slice(2)
const start = join(out, "start")
const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 256,
  intermediate_size: 640,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 4096,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  eos_token_id: 0,
  torch_dtype: "float32"
}

const program = Effect.gen(function* () {
  mkdirSync(start, { recursive: true })
  writeFileSync(join(start, "config.json"), JSON.stringify(config, null, 2))
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(texts, name), join(start, name))
  const weights = join(start, "model.safetensors")
  if (!existsSync(weights)) {
    const random = randomTensors(decodeHuggingFace("config.json", config), 1)
    yield* writeSafetensors(
      weights,
      random.names.map((name) => random.get(name)!)
    )
  }
  const model = yield* openModel(start)
  const beside = ["config.json", "tokenizer.json", "tokenizer_config.json"].map((name) => ({
    name,
    bytes: new Uint8Array(readFileSync(join(start, name)))
  }))
  const data = {
    data: join(texts, rows),
    evaluationFraction: 0.002,
    batchSize: 96,
    maxLength: 128,
    seed: Number(seed)
  }
  const options = {
    steps: Number(steps),
    learningRate: Number(rate),
    schedule: "linear" as const,
    warmup: 60,
    maxGradNorm: 1,
    compute: "f32" as const,
    evalEvery: 200,
    saveEvery: 200,
    resume: true
  }
  const stack = Trainer.layer(options).pipe(
    Layer.provide(AdamW.layer({ beta2: 0.95, weightDecay: 0.1 })),
    Layer.provide(FullTraining.layer(beside)),
    Layer.provide(Sft.layer(data, model)),
    Layer.provide(LlamaLoader.layerOf(model)),
    Layer.provide(FolderStore.layer(out)),
    Layer.provide(Dense.layer),
    Layer.provide(Cpu.layer())
  )
  const log = (event: TrainEvent) => {
    if (event._tag === "Load" || event._tag === "Progress") return
    const shown = event._tag === "Plan" ? { ...event, memory: event.memory.peakBytes } : event
    appendFileSync(join(out, "log.jsonl"), `${JSON.stringify(shown)}\n`)
    if (event._tag !== "Step" || event.step % 20 === 0) console.log(JSON.stringify(shown))
  }
  yield* Trainer.use((trainer) => Stream.runForEach(trainer.run, (event) => Effect.sync(() => log(event)))).pipe(
    Effect.provide(stack)
  )
})
await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(NodeServices.layer)))
