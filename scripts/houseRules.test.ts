/** The rules of this repository that no linter knows. */
import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { test } from "node:test"
import ts from "typescript"
import { sourceFiles } from "./sourceFiles.ts"
import { type Manifest, root, workspacePackages } from "./workspacePackages.ts"

const packages = workspacePackages()

test("a file is named for its idea", () => {
  for (const { folder, path } of packages) {
    const nameless = sourceFiles(path).filter((file) =>
      /^(utils?|helpers?|common|misc|types)\.ts$/.test(basename(file))
    )
    assert.deepEqual(nameless, [], `packages/${folder}: these names say nothing`)
  }
})

test("index.ts re-exports and does nothing else", () => {
  for (const { folder, path } of packages) {
    const text = readFileSync(join(path, "src/index.ts"), "utf8")
    const source = ts.createSourceFile("index.ts", text, ts.ScriptTarget.ESNext)
    const others = source.statements.filter(
      (statement) => !(ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined)
    )
    assert.deepEqual(
      others.map((statement) => text.slice(statement.pos, statement.end).trim()),
      [],
      `packages/${folder}/src/index.ts`
    )
  }
})

/** Every package.json of the workspace, by its folder from the root. */
const manifests = (): ReadonlyArray<readonly [folder: string, manifest: Manifest]> => {
  const examples = readdirSync(join(root, "examples")).map((name) => `examples/${name}`)
  const folders = ["", "bench", ...examples, ...packages.map(({ folder }) => `packages/${folder}`)]
  return folders
    .filter((folder) => existsSync(join(root, folder, "package.json")))
    .map((folder) => {
      const text = readFileSync(join(root, folder, "package.json"), "utf8")
      return [folder, JSON.parse(text) as Manifest] // our own file
    })
}

test("versions are pinned in the catalog, and the lockfile names no registry", () => {
  const { workspaces } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly workspaces: { readonly catalog: Readonly<Record<string, string>> }
  } // our own file
  for (const [name, version] of Object.entries(workspaces.catalog)) assert.match(version, /^\d+\.\d+\.\d+$/, name)
  for (const [folder, manifest] of manifests()) {
    for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      const wanted = name.startsWith("@graft/") ? /^workspace:[*^]$/ : /^catalog:$/
      assert.match(range, wanted, `${folder}: ${name} is ${range}`)
    }
  }
  assert.doesNotMatch(readFileSync(join(root, "bun.lock"), "utf8"), /https?:\/\//)
})

test("the lockfile knows every dependency; `bun install --frozen-lockfile` (1.4.5) lets a new one of a package pass", () => {
  const { config } = ts.parseConfigFileTextToJson("bun.lock", readFileSync(join(root, "bun.lock"), "utf8"))
  const locked = config.workspaces as Readonly<Record<string, Manifest>> // bun.lock repeats the manifests
  assert.deepEqual(
    Object.keys(locked).sort(),
    manifests()
      .map(([folder]) => folder)
      .sort(),
    "run `bun install`"
  )
  for (const [folder, manifest] of manifests()) {
    for (const kind of ["dependencies", "devDependencies", "peerDependencies"] as const) {
      assert.deepEqual(
        locked[folder]?.[kind] ?? {},
        manifest[kind] ?? {},
        `${folder}: ${kind} changed; run \`bun install\``
      )
    }
  }
})
