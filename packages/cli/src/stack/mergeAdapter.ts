/**
 * W + s·BA, one linear at a time (arXiv:2106.09685, section 4.1); of DoRA each row of the sum scaled to its magnitude
 * (arXiv:2402.09353, equation 5). The product runs on the device, in f32.
 */
import { gemm, type Limits, MetaQueue, plainGemm, type Queue, Scope, type SourceTensor, widen } from "@graft/core"
import { type AdapterFolder, rankOf, scaleOf } from "@graft/lora"

export interface Merge {
  readonly path: string
  readonly out: number
  readonly inner: number
}

const enqueue = (
  scope: Scope,
  { options, values }: AdapterFolder,
  { path, out, inner }: Merge,
  weight: () => ArrayLike<number>
) => {
  const rank = rankOf(path, options)
  const upload = (name: string, shape: ReadonlyArray<number>, of: () => ArrayLike<number>) => {
    const t = scope.tensor(shape, name)
    scope.queue.upload(t, of)
    return t
  }
  const w = upload(path, [out, inner], weight)
  const a = upload(`${path}.lora_A`, [rank, inner], () => values.get(`${path}.lora_A`)!.read())
  const b = upload(`${path}.lora_B`, [out, rank], () => values.get(`${path}.lora_B`)!.read())
  const scale = scaleOf(path, options)
  scope.queue.enqueue(gemm, [w, b, a], { ...plainGemm, m: out, k: rank, n: inner, scale, accumulate: true })
  return w
}

/** What the device needs for the largest of `merges`. */
export const planMerges = (limits: Limits, adapter: AdapterFolder, merges: ReadonlyArray<Merge>) => {
  const queue = new MetaQueue(limits)
  for (const one of new Map(
    merges.map((m) => [`${m.out} ${m.inner} ${rankOf(m.path, adapter.options)}`, m])
  ).values()) {
    using scope = new Scope(queue, "weights")
    enqueue(scope, adapter, one, () => [])
  }
  return queue.plan.arenaBytes
}

/** The merged matrix, f32 [out, in]. */
export const mergeLinear = async (
  queue: Queue,
  adapter: AdapterFolder,
  merge: Merge,
  source: SourceTensor
): Promise<Float32Array> => {
  using scope = new Scope(queue, "weights")
  const w = enqueue(scope, adapter, merge, () => widen(source.read(), source.dtype))
  const sum = await queue.read(w)
  const magnitudes = adapter.values.get(`${merge.path}.lora_magnitude_vector`)?.read()
  if (magnitudes !== undefined) {
    for (let o = 0; o < merge.out; o++) {
      const row = sum.subarray(o * merge.inner, (o + 1) * merge.inner)
      const factor = magnitudes[o]! / Math.sqrt(row.reduce((squares, value) => squares + value * value, 0))
      for (let i = 0; i < row.length; i++) row[i]! *= factor
    }
  }
  return sum
}
