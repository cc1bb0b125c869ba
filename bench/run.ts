/** `bun run bench [name…]`: runs the benches of this folder, one after the other; without names it lists them. */
import { readdirSync } from "node:fs"

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && file !== "run.ts" && !file.endsWith(".test.ts"))
  .map((file) => file.slice(0, -".ts".length))

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("--"))
const unknown = wanted.filter((name) => !names.includes(name))
if (wanted.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) console.error(`there is no bench ${unknown.join(", ")}`)
  console.log(`usage: bun run bench NAME…   names: ${names.join(", ")}`)
  process.exitCode = unknown.length > 0 ? 1 : 0
}
for (const name of unknown.length > 0 ? [] : wanted) await import(`./${name}.ts`)
