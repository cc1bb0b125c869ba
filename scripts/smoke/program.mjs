// What every runtime must be able to do with the packages as a user gets them. argv[2] is an empty folder.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"

const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"))
for (const name of Object.keys(dependencies)) {
  const exported = Object.keys(await import(name))
  assert.ok(exported.length > 0, `${name} exports nothing`)
}
