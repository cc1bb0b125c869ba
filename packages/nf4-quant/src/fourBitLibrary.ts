/** The native bodies of this package, where they were built; elsewhere the reference bodies run. */
import { fileURLToPath } from "node:url"

export const fourBitLibrary = fileURLToPath(
  new URL(`../prebuilt/${process.platform}-${process.arch}/nf4-quant.so`, import.meta.url)
)
