/** The device of `--backend`, with its kernels. */
import { Cpu } from "@graft/backend-cpu"
import { Reference } from "@graft/core"
import { FusedKernels } from "@graft/fused-kernels"
import { Layer } from "effect"
import type { BackendInput } from "../flags/modelFlags.ts"
import { InvalidInput } from "../problems.ts"

export const backendLayer = ({ backend, threads, isa }: Pick<BackendInput, "backend" | "threads" | "isa">) => {
  if (backend === "reference") {
    const extra = threads !== undefined ? "--threads" : isa !== undefined ? "--isa" : undefined
    return extra === undefined
      ? Reference.layer
      : Layer.effectContext(
          new InvalidInput({
            message: `${extra} has no effect on the reference backend, which has one thread; leave it out`
          })
        )
  }
  const options = { ...(threads === undefined ? {} : { threads }), ...(isa === undefined ? {} : { isa }) }
  const cpu = Cpu.layer(options).pipe(
    Layer.catchTag("NativeUnavailable", (e) =>
      Layer.effectContext(
        new InvalidInput({
          message: isa === undefined ? `${e.message}; or run slowly without it: --backend reference` : e.message
        })
      )
    )
  )
  return FusedKernels.layer.pipe(Layer.provideMerge(cpu))
}
