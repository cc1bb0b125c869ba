/** Which register-only peak a product in a format is measured against. */
import type { Native } from "@graft/backend-cpu"

/** The kind of peak of an instruction set: `f32.avx512` serves avx512bf16 too. */
export const peakKind = (native: Native, format: "f32" | "bf16", isa: string): string | undefined =>
  native
    .info()
    .peaks.filter((kind) => kind.startsWith(`${format}.`) && isa.startsWith(kind.slice(format.length + 1)))
    .sort((a, b) => b.length - a.length)[0]
