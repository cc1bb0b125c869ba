/**
 * What is compiled, and how: the engine once, each kernel file once for every instruction set that its line
 * `// graft-isa: …` names and the target has. Adding a kernel file needs no list to be edited: the file that fills the
 * tables (`registerBuiltIns`) is generated from what is found.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"

export interface Unit {
  /** Unique, used for the object's name. */
  readonly name: string
  readonly path: string
  readonly source: string
  readonly flags: ReadonlyArray<string>
  /** Every header of `folders` that it includes, directly or not. */
  readonly headers: ReadonlyArray<string>
  /** The instruction set of a kernel file: it may define symbols in this namespace only. */
  readonly isa?: string
}

const avx2 = ["-mavx2", "-mfma", "-mf16c"]
const avx512 = [...avx2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512"]
const isaFlags: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>> = {
  x64: { scalar: [], avx2, avx512, avx512bf16: [...avx512, "-mavx512bf16"] },
  arm64: { scalar: [], neon: [], neonbf16: ["-march=armv8.2-a+bf16"] }
}
const allIsas = new Set(Object.values(isaFlags).flatMap(Object.keys))

// Fused multiply-adds only where they are written: bits must not depend on what a compiler feels like contracting.
const everywhere = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread"]
const kernelFlags = ["-O3", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math"]

const filesOf = (folder: string, suffix: string): ReadonlyArray<string> =>
  readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .sort()
    .map((name) => join(folder, name))

/** Conditions are not looked at: a header too many recompiles once too often, one too few would go stale. */
const includedBy = (
  source: string,
  folders: ReadonlyArray<string>,
  found = new Set<string>()
): ReadonlyArray<string> => {
  for (const [, name = ""] of source.matchAll(/^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm)) {
    const path = folders.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate))
    if (path === undefined || found.has(path)) continue // the system's, or known
    found.add(path)
    includedBy(readFileSync(path, "utf8"), folders, found)
  }
  return [...found].sort()
}

const isasOf = (path: string, source: string): ReadonlyArray<string> => {
  const isas = /^\/\/ graft-isa:(.*)$/m.exec(source)?.[1]?.trim().split(/\s+/)
  if (isas === undefined) throw new Error(`${path}: no line "// graft-isa: scalar avx2 …" says what to compile it for`)
  const unknown = isas.filter((isa) => !allIsas.has(isa))
  if (unknown.length > 0)
    throw new Error(`${path}: graft-isa names ${unknown.join(", ")}; known are ${[...allIsas].join(", ")}`)
  return isas
}

const tablesSource = (families: ReadonlyMap<string, ReadonlyArray<string>>): string => {
  const each = (line: (family: string, isa: string) => string): string =>
    [...families].flatMap(([isa, names]) => names.map((family) => line(family, isa))).join("\n")
  const cases = [...families].map(
    ([isa, names]) =>
      `    case Isa::${isa}:\n${names.map((family) => `      ${isa}::register_${family}(registry);`).join("\n")}\n      break;`
  )
  return [
    "// Generated from kernels/*.cc.",
    '#include "tables.h"',
    each((family, isa) => `namespace graft::${isa} { void register_${family}(Registry&); }`),
    "namespace graft {",
    "void registerBuiltIns(Isa isa, [[maybe_unused]] Registry& registry) {",
    "  switch (isa) {",
    ...cases,
    "    default: break;",
    "  }",
    "}",
    "}",
    ""
  ].join("\n")
}

/** The kernel files of `folder`, once for each instruction set, and which families each set has. */
const kernelUnits = (folder: string, native: string, arch: string) => {
  const known = isaFlags[arch] ?? {}
  const folders = [...publishedBy(native), folder]
  const families = new Map<string, Array<string>>()
  const units: Array<Unit> = []
  for (const path of filesOf(folder, ".cc")) {
    const source = readFileSync(path, "utf8")
    const family = basename(path, ".cc")
    for (const isa of isasOf(path, source)) {
      const flags = known[isa]
      if (flags === undefined) continue // another architecture's
      families.set(isa, [...(families.get(isa) ?? []), family])
      units.push({
        name: `${family}.${isa}`,
        path,
        source,
        isa,
        headers: includedBy(source, folders),
        flags: [...everywhere, ...kernelFlags, `-DGRAFT_ISA=${isa}`, ...flags, `-I${join(native, "include")}`]
      })
    }
  }
  return { units, families }
}
// Where a quoted name may lie, too: headers of include/graft name one another without the folder.
const publishedBy = (native: string): ReadonlyArray<string> => [join(native, "include"), join(native, "include/graft")]

/** `generated` is where the tables' source will lie; it is not written here. */
export const nativeUnits = (
  native: string,
  apiHeaders: string,
  arch: string,
  generated: string
): ReadonlyArray<Unit> => {
  const engineFolders = [...publishedBy(native), join(native, "engine"), apiHeaders]
  const include = `-I${join(native, "include")}`
  const { units, families } = kernelUnits(join(native, "kernels"), native, arch)
  const engine = [...everywhere, "-O2", "-DNAPI_VERSION=8", include, `-I${join(native, "engine")}`, `-I${apiHeaders}`]
  for (const path of filesOf(join(native, "engine"), ".cc")) {
    const source = readFileSync(path, "utf8")
    units.push({
      name: `engine.${basename(path, ".cc")}`,
      path,
      source,
      headers: includedBy(source, engineFolders),
      flags: engine
    })
  }
  const tables = tablesSource(families)
  units.push({
    name: "engine.builtIns",
    path: generated,
    source: tables,
    headers: includedBy(tables, engineFolders),
    flags: engine
  })
  return units
}

const registerSource = (families: ReadonlyMap<string, ReadonlyArray<string>>): string => {
  const each = (line: (family: string, isa: string) => string): ReadonlyArray<string> =>
    [...families].flatMap(([isa, names]) => names.map((family) => line(family, isa)))
  return [
    "// Generated from the plug-in's kernel files.",
    "#include <graft/plugin.h>",
    ...each((family, isa) => `namespace graft::${isa} { void register_${family}(Registry&); }`),
    'extern "C" __attribute__((visibility("default"))) int graft_register(const graft_host* host) {',
    '  if (host->version != GRAFT_PLUGIN_VERSION) return host->fail(host, "built for another Graft: build it anew");',
    ...each(
      (family, isa) =>
        `  if (auto* registry = graft::registryOf(host, "${isa}")) graft::${isa}::register_${family}(*registry);`
    ),
    "  return 0;",
    "}",
    ""
  ].join("\n")
}

/** A plug-in's own library: its kernel files, and the function that enters them in the host's tables. */
export const pluginUnits = (plugin: string, native: string, arch: string, generated: string): ReadonlyArray<Unit> => {
  const { units, families } = kernelUnits(plugin, native, arch)
  const source = registerSource(families)
  const flags = [...everywhere, "-O2", `-I${join(native, "include")}`]
  return [
    ...units,
    { name: "register", path: generated, source, headers: includedBy(source, publishedBy(native)), flags }
  ]
}
