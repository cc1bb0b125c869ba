import { library } from "../../tsup.base.ts"

/** buildNative is for whoever installs the package where it carries no library: a program, beside what is imported. */
export default {
  ...library(),
  entry: { index: "src/index.ts", buildNative: "scripts/buildNative.ts" },
  dts: { entry: "src/index.ts" }
}
