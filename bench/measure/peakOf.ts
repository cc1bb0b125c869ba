import { loadNative } from "@graft/backend-cpu"

/** Whether this machine multiplies bf16 without widening it. */
export const multipliesBF16 = (): boolean => {
  const { peaks, isa } = loadNative().info()
  return peaks.includes(`bf16.${isa}`)
}

/** Floating-point operations a second in registers of these seconds: what a product in this format could reach at most. */
export const peakOf = (dtype: "f32" | "bf16", threads: number): number => {
  const native = loadNative()
  const { peaks, isa } = native.info()
  const own = `${dtype}.${isa}`
  return native.peak(peaks.includes(own) ? own : `f32.${isa.replace("bf16", "")}`, threads, 80)
}
