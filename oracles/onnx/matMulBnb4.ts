/**
 * Graft's product with a 4-bit weight beside ONNX Runtime's operator MatMulBnb4 (com.microsoft; CPU, f32), which reads the
 * same codes and scales. It knows blocks of up to 256.
 *
 *   bun oracles/onnx/matMulBnb4.ts     exit code 1 where a result is more than 1e-5 of the largest away
 */
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node"
import { CpuQueue, cpuLimits, loadNative } from "../../packages/backend-cpu/src/index.ts"
import { Scope, sourceOf } from "../../packages/core/src/index.ts"
import { doubleQuant } from "../../packages/double-quant/src/index.ts"
import { fourBitCodec, fp4, nf4, plainScales } from "../../packages/nf4-quant/src/index.ts"

// ---- as much of ONNX's protocol buffers (onnx.proto) as one node needs
const varint = (value: number): ReadonlyArray<number> =>
  value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))]
const number = (field: number, value: number): ReadonlyArray<number> => [...varint(field * 8), ...varint(value)]
const message = (field: number, ...parts: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<number> => {
  const body = parts.flat()
  return [...varint(field * 8 + 2), ...varint(body.length), ...body]
}
const text = (field: number, value: string): ReadonlyArray<number> =>
  message(field, [...new TextEncoder().encode(value)])

const FLOAT = 1
const UINT8 = 2
const value = (field: number, name: string, element: number, shape: ReadonlyArray<number>): ReadonlyArray<number> =>
  message(
    field,
    text(1, name),
    message(2, message(1, number(1, element), message(2, ...shape.map((size) => message(1, number(1, size))))))
  )
interface Shape {
  readonly tokens: number
  readonly out: number
  readonly inner: number
  readonly block: number
  readonly kind: "nf4" | "fp4"
}
const modelOf = ({ tokens, out, inner, block, kind }: Shape): Uint8Array => {
  const attribute = (name: string, value: number) => message(5, text(1, name), number(3, value), number(20, 2))
  const node = message(
    1,
    ...["x", "codes", "scales"].map((name) => text(1, name)),
    text(2, "y"),
    text(4, "MatMulBnb4"),
    ...Object.entries({ K: inner, N: out, block_size: block, quant_type: kind === "nf4" ? 1 : 0 }).map((entry) =>
      attribute(...entry)
    ),
    text(7, "com.microsoft")
  )
  const elements = out * inner
  const graph = message(
    7,
    node,
    text(2, "one"),
    value(11, "x", FLOAT, [tokens, inner]),
    value(11, "codes", UINT8, [Math.ceil(elements / 2)]),
    value(11, "scales", FLOAT, [Math.ceil(elements / block)]),
    value(12, "y", FLOAT, [tokens, out])
  )
  const opset = (domain: string, version: number) => message(8, text(1, domain), number(2, version))
  return Uint8Array.from([...number(1, 8), ...opset("", 17), ...opset("com.microsoft", 1), ...graph])
}

const native = loadNative()
const info = native.info()
const queue = new CpuQueue(native, [2 ** 28], cpuLimits(info, 2), { threads: 2, isa: info.isa })
let state = 1
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) | 0
  return state / 2 ** 31
}
let worst = 0
let cases = 0
for (const [out, inner] of [
  [256, 512],
  [96, 4096],
  [128, 576],
  [70, 352],
  [33, 96]
] as const) {
  for (const block of [32, 64, 128, 256] as const) {
    for (const codebook of [nf4, fp4]) {
      for (const scales of [plainScales, doubleQuant]) {
        using scope = new Scope(queue, "weights")
        const source = sourceOf("w", [out, inner], () => Float32Array.from({ length: out * inner }, random), "f32")
        const weight = fourBitCodec(codebook, scales, block).encode(source, scope, "w")
        const [packed, ...kept] = await Promise.all(weight.storage.map((tensor) => queue.read(tensor)))
        const codes = Uint8Array.from(packed!)
        const absmax = Float32Array.from({ length: Math.ceil((out * inner) / block) }, (_, i) => scales.at(kept, i))
        for (const tokens of [1, 3, 8, 40]) {
          using activations = new Scope(queue, "activations")
          const x = activations.tensor([tokens, inner], "x")
          const y = activations.tensor([tokens, out], "y")
          const values = Float32Array.from({ length: tokens * inner }, random)
          queue.upload(x, () => values)
          weight.apply(y, x)
          const ours = await queue.read(y)
          const session = await InferenceSession.create(modelOf({ tokens, out, inner, block, kind: codebook.name }))
          const results = await session.run({
            x: new OrtTensor("float32", values, [tokens, inner]),
            codes: new OrtTensor("uint8", codes, [codes.length]),
            scales: new OrtTensor("float32", absmax, [absmax.length])
          })
          const theirs = results["y"]!.data as Float32Array // the model says so
          const largest = theirs.reduce((top, value) => Math.max(top, Math.abs(value)), 0)
          const apart = theirs.reduce((top, value, i) => Math.max(top, Math.abs(value - ours[i]!)), 0) / largest
          worst = Math.max(worst, apart)
          cases++
          if (!(apart <= 1e-5))
            console.log(
              `${codebook.name}, ${scales.name}, [${out}, ${inner}], blocks of ${block}, ${tokens} tokens: ${apart}`
            )
        }
      }
    }
  }
}
await queue.close()
console.log(`${cases} products; the furthest from ONNX Runtime's is ${worst.toExponential(1)} of its largest`)
process.exit(worst <= 1e-5 ? 0 : 1)
