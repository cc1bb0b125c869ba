import type { Options } from "tsup"

/**
 * How every package is built: ESM and one rolled-up `.d.ts` an entry. ES2022 is what Node 20 runs, so `using` is
 * lowered; whatever package.json names as a dependency or peer stays an import.
 */
export const library = (...entry: ReadonlyArray<string>): Options => ({
  entry: [...entry],
  format: "esm",
  target: "es2022",
  platform: "neutral",
  dts: true,
  clean: true,
  sourcemap: false,
  splitting: true,
  treeshake: false,
  silent: true
})
