/** The device of `--backend`, with its kernels. */
import { Cpu, type Profile } from "@graft/backend-cpu"
import { bestTfjs, Tfjs } from "@graft/backend-tfjs"
import { Reference } from "@graft/core"
import { FusedKernels } from "@graft/fused-kernels"
import { Effect, Layer } from "effect"
import type { BackendInput } from "../flags/modelFlags.ts"
import { InvalidInput } from "../problems.ts"

const refused = (message: string) => Layer.effectContext(new InvalidInput({ message }))

/** `on`, `off`, or names of ops: the layer over a device that replaces them, or what is wrong. */
const fusedLayer = (wanted: string) => {
  const known = FusedKernels.ops
  if (wanted === "on") return FusedKernels.layer
  if (wanted === "off") return undefined
  const names = wanted.split(",").map((name) => name.trim())
  const unknown = names.find((name) => !known.includes(name))
  return unknown === undefined
    ? FusedKernels.layerOf(names)
    : refused(`--fused: there is no fused ${unknown}; expected on, off, or some of ${known.join(", ")}`)
}

/** The best TensorFlow.js package that loads; ops as they are, since fused ones have bodies for the CPU only. */
const tfjs = Layer.unwrap(Effect.map(bestTfjs(), ({ tf, backend }) => Tfjs.layer(tf, { backend }))).pipe(
  Layer.catchTag("TfjsUnavailable", (e) => refused(e.message))
)

export const backendLayer = (
  { backend, threads, isa, fused = "on" }: Pick<BackendInput, "backend" | "threads" | "isa" | "fused">,
  profile?: Profile,
  record = false
) => {
  if (backend !== "cpu") {
    const extra =
      threads !== undefined
        ? "--threads"
        : isa !== undefined
          ? "--isa"
          : profile !== undefined
            ? "--profile"
            : undefined
    if (extra !== undefined) {
      const why = backend === "reference" ? "which has one thread" : "whose threads are TensorFlow.js's own"
      return refused(`${extra} has no effect on the ${backend} backend, ${why}; leave it out`)
    }
    if (record && backend !== "reference")
      return refused("--record keeps a hash of each op, which this backend does not; take cpu or reference")
    return backend === "reference" ? Reference.layerOf({ record }) : tfjs
  }
  const options = { record, ...(threads === undefined ? {} : { threads }), ...(isa === undefined ? {} : { isa }) }
  const cpu = Cpu.layer(options, profile).pipe(
    Layer.catchTag("NativeUnavailable", (e) =>
      Layer.effectContext(
        new InvalidInput({
          message: isa === undefined ? `${e.message}; or run slowly without it: --backend reference` : e.message
        })
      )
    )
  )
  const overrides = fusedLayer(fused)
  return overrides === undefined ? cpu : overrides.pipe(Layer.provideMerge(cpu))
}
