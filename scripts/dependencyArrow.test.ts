/**
 * The dependency arrow: core needs nothing but effect, file formats need nothing but effect and each other, plug-ins need core and never each other, only
 * cli assembles.
 * Read from the imports themselves, tests and types included, and from the package.json files.
 */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { dirname, join, relative } from "node:path"
import { test } from "node:test"
import ts from "typescript"
import { isTest, sourceFiles } from "./sourceFiles.ts"
import { requiredPeers, type WorkspacePackage, workspacePackages } from "./workspacePackages.ts"

const packages = workspacePackages()
/** Libraries of a file format or of where files come from, which know nothing of Graft; several plug-ins may use one. */
const formats = packages.filter(({ folder }) => ["safetensors", "gguf", "hub"].includes(folder))
const plugIns = packages.filter((one) => !["core", "cli", "testing"].includes(one.folder) && !formats.includes(one))

interface Import {
  readonly file: string
  readonly line: number
  readonly specifier: string
}

const importsOf = (path: string, file: string): ReadonlyArray<Import> => {
  const text = readFileSync(join(path, file), "utf8")
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName, pos }) => ({
    file,
    line: text.slice(0, pos).split("\n").length,
    specifier: fileName
  }))
}

const isRelative = (specifier: string): boolean => specifier.startsWith(".")
const isNode = (specifier: string): boolean => specifier.startsWith("node:") || builtinModules.includes(specifier)

/** `@graft/core/x` → `@graft/core`, `effect/Schema` → `effect`. */
const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/")

/** The imports for which `allowed` is false, one readable line each. */
const violations = (
  one: WorkspacePackage,
  allowed: (specifier: string, test: boolean, file: string) => boolean
): ReadonlyArray<string> =>
  sourceFiles(one.path)
    .flatMap((file) => importsOf(one.path, file))
    .filter(({ file, specifier }) => !allowed(specifier, isTest(file), file))
    .map(({ file, line, specifier }) => `packages/${one.folder}/${file}:${line} imports ${specifier}`)

test("every package has an index, and its files can be read for imports", () => {
  for (const one of packages) {
    assert.ok(sourceFiles(one.path).includes(join("src", "index.ts")), `packages/${one.folder}/src/index.ts is missing`)
  }
  const core = packages.find(({ folder }) => folder === "core")
  assert.ok(core !== undefined && violations(core, isRelative).length > 0, "core is known to import effect")
})

test("core imports nothing but effect", () => {
  const core = packages.filter(({ folder }) => folder === "core")
  assert.equal(core.length, 1)
  for (const one of core) {
    const found = violations(
      one,
      (specifier, inTest) =>
        isRelative(specifier) ||
        packageOf(specifier) === "effect" ||
        (inTest && (isNode(specifier) || specifier === "fast-check"))
    )
    assert.deepEqual(found, [])
    assert.deepEqual(Object.keys(one.manifest.dependencies ?? {}), [])
    assert.deepEqual(Object.keys(one.manifest.peerDependencies ?? {}), ["effect"])
  }
})

for (const one of formats) {
  test(`${one.manifest.name}, a file format, imports nothing of Graft but other formats`, () => {
    const names = formats.map(({ manifest }) => manifest.name)
    const found = violations(
      one,
      (specifier) => !specifier.startsWith("@graft/") || names.includes(packageOf(specifier))
    )
    assert.deepEqual(found, [])
  })
}

for (const one of plugIns) {
  test(`${one.manifest.name} imports no other plug-in`, () => {
    const shared = formats.map(({ manifest }) => manifest.name)
    const mine = ["@graft/core", one.manifest.name, ...shared]
    const found = violations(one, (specifier, inTest) => {
      const name = packageOf(specifier)
      return !name.startsWith("@graft/") || mine.includes(name) || (inTest && name === "@graft/testing")
    })
    assert.deepEqual(found, [])
    assert.deepEqual(requiredPeers(one.manifest).sort(), ["@graft/core", "effect"])
    const depends = Object.keys(one.manifest.dependencies ?? {}).filter(
      (name) => name.startsWith("@graft/") && !shared.includes(name)
    )
    assert.deepEqual(depends, [], "a plug-in meets core as a peer, so that a program holds one core")
  })
}

for (const one of packages) {
  test(`${one.manifest.name} imports only what its package.json names, and nothing outside its folder`, () => {
    const runtime = new Set([
      ...Object.keys(one.manifest.dependencies ?? {}),
      ...Object.keys(one.manifest.peerDependencies ?? {})
    ])
    const development = new Set(Object.keys(one.manifest.devDependencies ?? {}))
    const found = violations(one, (specifier, inTest, file) => {
      if (isRelative(specifier)) {
        return inTest || !relative(one.path, join(one.path, dirname(file), specifier)).startsWith("..")
      }
      const name = packageOf(specifier)
      return isNode(specifier) || name === one.manifest.name || runtime.has(name) || (inTest && development.has(name))
    })
    assert.deepEqual(found, [])
  })
}

test("no package needs one runtime: Bun and Deno stay out of the sources", { timeout: 60_000 }, () => {
  for (const one of packages) {
    const found = violations(one, (specifier) => !/^(bun|bun:.*|jsr:.*|npm:.*|https?:.*)$/.test(specifier))
    assert.deepEqual(found, [])
    for (const file of sourceFiles(one.path)) {
      const source = ts.createSourceFile(file, readFileSync(join(one.path, file), "utf8"), ts.ScriptTarget.ESNext, true)
      const visit = (node: ts.Node): void => {
        if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
          const name = node.expression.text
          const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1
          const where = `packages/${one.folder}/${file}:${line} uses ${node.getText()}`
          assert.ok(name !== "Bun" && name !== "Deno", where)
          assert.ok(one.folder !== "core" || isTest(file) || (name !== "process" && name !== "Buffer"), where)
        }
        ts.forEachChild(node, visit)
      }
      visit(source)
    }
  }
})
