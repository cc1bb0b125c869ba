/** The guide shows a family as it is. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { architectures } from "./known.ts"

const read = (path: string): string => readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8")

test("docs/add-an-architecture.md has the smallest family whole, and names all of them", () => {
  const guide = read("../../../../docs/add-an-architecture.md")
  assert.equal(/```ts\n([\s\S]*?)```/.exec(guide)?.[1], read("./mistral.ts"))
  for (const family of Object.keys(architectures)) assert.ok(guide.includes(`\`${family}.ts\``), family)
})
