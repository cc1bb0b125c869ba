/** The conformance suites on the native backend, for each instruction set that this machine runs. */
import { testBackend } from "@graft/testing"
import { cpuLimits } from "./Cpu.ts"
import { CpuQueue } from "./CpuQueue.ts"
import { loadNative } from "./native.ts"

const native = loadNative()
const info = native.info()
const limits = cpuLimits(info, 2)

for (const isa of info.isas) {
  const open = (threads: number) => (bytes: ReadonlyArray<number>) =>
    new CpuQueue(native, bytes, cpuLimits(info, threads), { threads, isa })
  testBackend(`cpu ${isa}`, {
    limits,
    open: open(2),
    alike: { "1 thread": open(1), "3 threads": open(3), "7 threads": open(7) },
    record: async (bytes) => {
      const queue = new CpuQueue(native, bytes, limits, { threads: 2, isa, record: true })
      return { queue, flight: () => queue.flight }
    }
  })
}
