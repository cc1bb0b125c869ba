/** Every kernel of core on a backend beside its reference body: odd shapes, windows, mixes of dtypes, operands that lie anywhere. */
import assert from "node:assert/strict"
import test from "node:test"
import { type DType, ReferenceQueue } from "@graft/core"
import { arenasOf, type BackendUnderTest, hasDType, MiB, onDevice } from "./BackendUnderTest.ts"
import { assertClose } from "./closeness.ts"
import { type KernelCase, mixesOf } from "./KernelCase.ts"
import { attentionCases } from "./kernels/attentionCases.ts"
import { columnCases } from "./kernels/columnCases.ts"
import { denseCases } from "./kernels/denseCases.ts"
import { gemmCases } from "./kernels/gemmCases.ts"
import { networkCases } from "./kernels/networkCases.ts"
import { optimizerCases } from "./kernels/optimizerCases.ts"
import { rowCases } from "./kernels/rowCases.ts"
import { runKernelCase } from "./runKernelCase.ts"

const BYTES = 64 * MiB

export const toleranceOf = (
  { tolerance = { f32: 1e-5, rounded: 1 / 128 } }: BackendUnderTest,
  mix: Iterable<DType>
): number => ([...mix].every((dtype) => dtype === "f32" || dtype === "i32") ? tolerance.f32 : tolerance.rounded)

export const coreKernelCases = (): ReadonlyArray<KernelCase> => [
  ...rowCases(),
  ...gemmCases(),
  ...networkCases(),
  ...attentionCases(),
  ...optimizerCases(),
  ...denseCases(),
  ...columnCases()
]

/** Registers one test for each kernel among `cases`. */
export const testKernels = (
  name: string,
  backend: BackendUnderTest,
  cases: ReadonlyArray<KernelCase> = coreKernelCases()
): void => {
  for (const kernel of new Set(cases.map((c) => c.kernel))) {
    const own = cases.filter((c) => c.kernel === kernel)
    test(`${name}: kernel ${kernel}`, () =>
      onDevice(
        backend,
        async (queue) => {
          const reference = new ReferenceQueue(arenasOf(backend.limits, BYTES), { limits: backend.limits })
          let compared = 0
          for (const one of own) {
            for (const mix of mixesOf(one, (dtype) => hasDType(backend, dtype))) {
              const wanted = await runKernelCase(reference, one, mix, false)
              for (const within of backend.limits.views ? [false, true] : [false]) {
                const got = await runKernelCase(queue, one, mix, within)
                const what = `${kernel}, ${one.title} (${mix})${within ? ", within larger buffers" : ""}`
                for (const [i, values] of got.entries()) {
                  assertClose(
                    values,
                    wanted[i]!,
                    one.exact ? 0 : toleranceOf(backend, mix),
                    `${what}, output ${i}`,
                    one.floor
                  )
                  compared++
                }
              }
            }
          }
          assert.ok(compared > 0, "nothing was compared")
          await reference.close()
        },
        BYTES
      ))
  }
}
