/** docs/benchmarks.md from bench/results: `bun bench/measure/report.ts`, and at the end of each bench. */
import { renameSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { PairRow } from "../pairs/measurePair.ts"
import type { PeerRow } from "../peers/configurations.ts"
import { type FigureRow, figureOf, shareOf } from "./figure.ts"
import { pairCells, pairHead, saidOfPairs } from "./reportPairs.ts"
import { type LayerRow, type Machine, readResults } from "./results.ts"

const path = fileURLToPath(new URL("../../docs/benchmarks.md", import.meta.url))
const ran = ({ processor, isa, cores, runtime, load, commit, date }: Machine): string =>
  `${processor}, ${cores} cores, ${isa}; ${runtime}; commit ${commit}; ${date} UTC.${load > 2 * cores ? ` Load average ${load}: others used the machine, so rates say little and ratios something; a run on a quiet machine is still to be made.` : ""}`
const markdown = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")
const gib = (bytes: number | undefined): string => (bytes === undefined ? "" : (bytes / 2 ** 30).toFixed(2))
const fixed = (n: number, digits = 2): string => n.toFixed(digits)

const peers = (): string => {
  const results = readResults<PeerRow>("peers")
  if (results === undefined) return ""
  const steps = results.rows.filter(({ shape }) => shape === undefined)
  const products = results.rows.filter(({ shape }) => shape !== undefined)
  return `## Beside PEFT + bitsandbytes + PyTorch (\`bun run bench:peers\`)
${ran(results.machine)} Versions: ${JSON.stringify(
    steps.find(({ versions }) => versions !== undefined)?.versions ?? products[0]?.versions ?? {}
  )
    .replaceAll(/[{}"]/g, "")
    .replaceAll(":", " ")
    .replaceAll(",", ", ")}.

QLoRA steps (forward, backward, AdamW): NF4 with double quantisation, rank 16 on all linears. 135m: SmolLM2-135M-Instruct, 4 × 512 tokens; 7b: two layers of Llama-2-7b's shapes with its embedding and head, 1 × 512 tokens. Both sides are processes that stay and take steps in turn; a ratio is the median of the rounds' ratios, the first step being left out. The peers are tuned (glibc's allocator keeps its memory, \`set_float32_matmul_precision("medium")\`) unless the name says installed. Memory is the processes' peak resident size, interpreters included. The first losses agree where both load the same model; the 7b shapes have random weights, other ones on each side.

${markdown(
  ["step", "rounds", "tokens/s", "peers' tokens/s", "times as fast", "GiB", "peers' GiB", "a part of", "first losses"],
  steps.map((r) => [
    r.name,
    String(r.rounds),
    fixed(r.tokens! / r.graftSeconds, 1),
    fixed(r.tokens! / r.peerSeconds, 1),
    `**${fixed(r.ratio)}**`,
    gib(r.graftBytes),
    gib(r.peerBytes),
    `1/${fixed(r.peerBytes! / r.graftBytes!, 1)}`,
    r.firstLosses!.map((loss) => fixed(loss, 4)).join(", ")
  ])
)}

Products y = x Wᵀ, x and W in one format, the faster of oneDNN's and torch's own (${products[0]?.threads ?? 2} threads):

${markdown(
  ["tokens × in × out", "format", "GFLOP/s", "peers'", "times as fast", "of the peak of the same seconds"],
  products.map((r) => {
    const [tokens = 0, inner = 0, out = 0] = r.shape!
    const flops = 2 * tokens * inner * out
    return [
      `${tokens} × ${inner} × ${out}`,
      r.dtype ?? "f32",
      fixed(flops / r.graftSeconds / 1e9, 0),
      fixed(flops / r.peerSeconds / 1e9, 0),
      `**${fixed(r.ratio)}**`,
      r.peakShare! > 1.02 ? "not measured: the load moved" : `${fixed(100 * r.peakShare!, 0)} %`
    ]
  })
)}
`
}

const layer = (): string => {
  const results = readResults<LayerRow>("step")
  if (results === undefined) return ""
  return `## One layer of Llama-2-7b's shapes (\`bun run bench step\`, \`graft bench\`)
${ran(results.machine)} LoRA of rank 16 on all linears; forward, backward and AdamW, nothing recomputed unless said. The rate counts products and attention over the whole step's time; the peak is that of multiply-adds in registers just before and after.

${markdown(
  [
    "weights",
    "ops",
    "tokens",
    "threads",
    "instructions",
    "compute",
    "tokens/s",
    "GFLOP/s",
    "of peak",
    "all else",
    "enqueuing",
    "planned MB",
    "loss, gradient norm"
  ],
  results.rows.map((r) => [
    ...[r.weights, r.ops, String(r.tokens), String(r.threads), r.isa, r.compute],
    ...[fixed(r.tokensPerSecond, 1), fixed(r.rate / 1e9, 0)],
    ...[`**${fixed((100 * r.rate) / r.peak, 0)} %**`, `${fixed(100 * r.elseShare, 1)} %`],
    ...[
      `${fixed(100 * r.enqueueShare, 1)} %`,
      fixed(r.bytes / 1e6, 0),
      r.numbers
        .slice(0, 2)
        .map((n) => n.toPrecision(7))
        .join(", ")
    ]
  ])
)}

`
}

const pairs = (): string => {
  const results = readResults<PairRow>("fused")
  if (results === undefined) return ""
  const threads = results.rows[0]?.threads ?? 0
  return `## Memory, speed and numbers of composed and fused (\`bun run bench fused\`)
${ran(results.machine)} ${threads} thread${threads === 1 ? "" : "s"}. ${saidOfPairs}

${markdown(pairHead, results.rows.map(pairCells))}

`
}

/** The benches whose results are figures, a line each. */
const figureBenches = [
  ["gemm", "Products with dense weights", "The peak is that of multiply-adds in registers just before and after."],
  [
    "nf4",
    "4-bit weights",
    "W [4096, 4096]. The peak is that of multiply-adds in registers, copying and reading the memory's bandwidth, of the same minutes."
  ],
  [
    "gguf",
    "Blocks of a GGUF as weights",
    "W [4096, 4096]; rates and peak by processor time of the threads, so that others on the machine count less."
  ],
  [
    "optim",
    "Updates of optimisers",
    "One tensor of 16 Mi parameters, best of nine rounds; the rate counts what an update reads and writes, the share is of the memory's copy bandwidth in the same rounds (a copy writes its lines anew, so more than 100 % is possible)."
  ],
  [
    "stream",
    "Weights that stream",
    "Llama-2-7b's shapes in NF4 with double quantization under the smallest budget of weights, `--model=FOLDER`: a pass of one token reads nearly all layers. The share is of reading the same file directly in the same minute."
  ]
] as const
const figures = (): string =>
  figureBenches
    .flatMap(([name, title, said]) => {
      const results = readResults<FigureRow>(name)
      if (results === undefined) return []
      const rows = results.rows.map((row) => [
        String(row.threads),
        row.what,
        figureOf(row),
        [shareOf(row), row.note ?? ""].filter((text) => text !== "").join(", ")
      ])
      return [
        `## ${title} (\`bun run bench ${name}\`)\n${ran(results.machine)} ${said}\n\n${markdown(["threads", "", "", ""], rows)}\n\n`
      ]
    })
    .join("")

export const writeReport = (): void => {
  const text = `# Benchmarks
Written by the benches from \`bench/results\`; not by hand. What limits the products is in [kernels.md](kernels.md).

${layer()}${peers()}
${pairs()}${figures()}`
    .trimEnd()
    .concat("\n")
  writeFileSync(`${path}.partial`, text)
  renameSync(`${path}.partial`, path)
}
if (import.meta.main) writeReport()
