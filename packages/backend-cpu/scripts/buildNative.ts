/**
 * Builds `prebuilt/<platform>-<arch>/graft.node` from `native/`, and the libraries of plug-ins beside: compiles what is stale,
 * links, nothing else needed than
 * a C++20 compiler. Objects are kept by the hash of compiler, flags, source and headers. Runs under Bun and, as
 * dist/buildNative.js of the installed package, under Node 20.
 */
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { availableParallelism } from "node:os"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Compiler, findCompiler } from "./findCompiler.ts"
import { nativeUnits, pluginUnits, type Unit } from "./nativeUnits.ts"

const hashOf = (...parts: ReadonlyArray<string>): string =>
  parts
    .reduce((hash, part) => hash.update(`${part.length}:`).update(part), createHash("sha256"))
    .digest("hex")
    .slice(0, 24)

/** Two builds may run at once; neither reads the other's half-written file. */
const writeWhole = (path: string, text: string): void => {
  const partial = `${path}.${process.pid}.partial`
  writeFileSync(partial, text)
  renameSync(partial, path)
}

/** Runs to the end; the output is returned, not shown, so that parallel compilations do not mix. */
const run = (command: ReadonlyArray<string>): Promise<{ readonly ok: boolean; readonly output: string }> =>
  new Promise((resolve, reject) => {
    const [program = "", ...args] = command
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    child.stdout.on("data", (chunk) => {
      output += chunk
    })
    child.stderr.on("data", (chunk) => {
      output += chunk
    })
    child.on("error", reject)
    child.on("close", (code) => resolve({ ok: code === 0, output }))
  })

/**
 * Symbols that a kernel object would share with the same file compiled for another instruction set (weak ones, and
 * global ones outside its namespace): the linker keeps one copy, perhaps of instructions that the machine lacks.
 */
const sharedSymbols = (object: string, isa: string): ReadonlyArray<string> => {
  // The namespace may come second in a mangled name, where `graft` is spelt as a substitution (a lambda's type, say).
  const own = new RegExp(`(?:5graft|NS_)${isa.length}${isa}`)
  return symbolsOf(object).flatMap(({ kind, name }) =>
    // A plug-in's entry point is one symbol: a second one would not link.
    /[TWVuBDRi]/.test(kind) && !own.test(name) && !(kind === "T" && pluginExports.includes(name)) ? [name] : []
  )
}

/** What a plug-in's library may export (plugin.h). */
const pluginExports = ["graft_register", "graft_queue_closed"]

/** nm's kinds and names; none where there is no nm, since its checks are for developers. */
const symbolsOf = (file: string): ReadonlyArray<{ readonly kind: string; readonly name: string }> => {
  const listing = spawnSync("nm", [file], { encoding: "utf8" })
  if (listing.status !== 0) return []
  return [...listing.stdout.matchAll(/^[0-9a-f ]+ (\w) (\S+)$/gm)].map(([, kind = "", name = ""]) => ({ kind, name }))
}

const compile = async (compiler: Compiler, unit: Unit, object: string): Promise<void> => {
  const partial = `${object}.${process.pid}.partial`
  const { ok, output } = await run([...compiler.command, ...unit.flags, "-c", unit.path, "-o", partial])
  if (output !== "") process.stderr.write(output)
  if (!ok) throw new Error(`${unit.path} does not compile (${unit.name})`)
  const shared = unit.isa === undefined ? [] : sharedSymbols(partial, unit.isa)
  if (shared.length > 0) {
    throw new Error(
      `${unit.path} (${unit.isa}) defines symbols that other instruction sets share: ${shared.join(", ")}; put them into namespace GRAFT_ISA, make them static, or GRAFT_INLINE (see kernel.h)`
    )
  }
  renameSync(partial, object)
}

/** Only the module's entry points leave the library: its C++ runtime must not meet the host program's. */
const linkFlags = (platform: string, exportsFile: string): ReadonlyArray<string> =>
  platform === "darwin"
    ? ["-bundle", "-undefined", "dynamic_lookup"]
    : [
        "-shared",
        "-static-libstdc++",
        "-static-libgcc",
        "-pthread",
        "-ldl",
        `-Wl,--version-script=${exportsFile}`,
        "-Wl,-z,now"
      ]

const link = async (
  compiler: Compiler,
  objects: ReadonlyArray<string>,
  cache: string,
  target: string,
  exported: ReadonlyArray<string>
): Promise<void> => {
  const exportsFile = join(cache, "exports.map")
  writeWhole(exportsFile, `{ global: ${exported.join("; ")}; local: *; };\n`)
  mkdirSync(dirname(target), { recursive: true })
  const partial = `${target}.${process.pid}.partial`
  const { ok, output } = await run([
    ...compiler.command,
    "-o",
    partial,
    ...objects,
    ...linkFlags(compiler.platform, exportsFile)
  ])
  if (output !== "") process.stderr.write(output)
  if (!ok) throw new Error("the native library does not link")
  // N-API's names stay open until a runtime loads the library; ours must not.
  const missing = symbolsOf(partial).flatMap(({ kind, name }) => (kind === "U" && name.includes("graft") ? [name] : []))
  if (missing.length > 0) {
    throw new Error(
      `nothing defines ${missing.join(", ")}; a file kernels/foo.cc defines register_foo in namespace graft::GRAFT_ISA`
    )
  }
  renameSync(partial, target) // a process that has the old file loaded keeps it
}

interface Library {
  /** The package's folder. */
  readonly root: string
  /** The file below prebuilt/<platform>. */
  readonly file: string
  /** The symbols that leave it. */
  readonly exported: ReadonlyArray<string>
  readonly units: (compiler: Compiler, generated: string) => ReadonlyArray<Unit>
}

const build = async (compiler: Compiler, { root, file, exported, units: unitsOf }: Library): Promise<void> => {
  const name = `${compiler.platform}-${compiler.arch}`
  const cache = join(root, ".cache/native", name)
  mkdirSync(cache, { recursive: true })
  const generated = join(cache, "builtIns.cc")
  const units = unitsOf(compiler, generated)
  for (const unit of units) if (unit.path === generated) writeWhole(generated, unit.source)

  const texts = new Map<string, string>()
  const textOf = (path: string): string => {
    const text = texts.get(path) ?? readFileSync(path, "utf8")
    texts.set(path, text)
    return text
  }
  const compilerKey = hashOf(...compiler.command, compiler.version)
  // Of a path only what lies below the repository counts: a clone that was moved or copied compiles nothing anew.
  const within = (text: string): string => text.replaceAll(dirname(dirname(root)), "")
  const objects = units.map(({ name, flags, source, headers }) => {
    const contents = headers.flatMap((path) => [within(path), textOf(path)])
    return join(cache, `${name}.${hashOf(compilerKey, ...flags.map(within), source, ...contents)}.o`)
  })

  const stale = units.flatMap((unit, i) => (existsSync(objects[i] ?? "") ? [] : [{ unit, object: objects[i] ?? "" }]))
  const started = performance.now()
  let next = 0
  const worker = async (): Promise<void> => {
    for (let job = stale[next++]; job !== undefined; job = stale[next++]) {
      try {
        await compile(compiler, job.unit, job.object)
      } catch (error) {
        next = stale.length // the others finish what they have begun
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, availableParallelism()) }, worker))

  const target = join(root, "prebuilt", name, file)
  const shown = `${basename(root)}/prebuilt/${name}/${file}`
  const linked = join(cache, "linked")
  const key = hashOf(compilerKey, ...objects.map(within), readFileSync(fileURLToPath(import.meta.url), "utf8"))
  if (stale.length === 0 && existsSync(target) && existsSync(linked) && readFileSync(linked, "utf8") === key) {
    console.log(`native library is up to date: ${shown}`)
    return
  }
  await link(compiler, objects, cache, target, exported)
  writeWhole(linked, key)
  const kept = new Set(objects)
  for (const old of readdirSync(cache)) {
    const path = join(cache, old)
    // Young ones may be another build's that runs now.
    if (/\.(o|partial)$/.test(old) && !kept.has(path) && Date.now() - statSync(path).mtimeMs > 3_600_000) {
      rmSync(path, { force: true })
    }
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(
    `built ${shown}: ${stale.length} of ${units.length} objects compiled in ${seconds} s (${compiler.version})`
  )
}

/** This package's library, then those of the plug-ins beside it that have kernels of their own: packages/<name>/native/*.cc. */
const buildAll = async (): Promise<void> => {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..")
  const native = join(root, "native")
  const compiler = findCompiler()
  const headers = join(dirname(createRequire(import.meta.url).resolve("node-api-headers/package.json")), "include")
  await build(compiler, {
    root,
    file: "graft.node",
    exported: ["napi_register_module_v1", "node_api_module_get_api_version_v1"],
    units: ({ arch }, generated) => nativeUnits(native, headers, arch, generated)
  })
  const beside = join(root, "..")
  for (const name of readdirSync(beside).sort()) {
    const plugin = join(beside, name, "native")
    if (join(beside, name) === root || !existsSync(plugin)) continue
    await build(compiler, {
      root: join(beside, name),
      file: `${name}.so`,
      exported: pluginExports,
      units: ({ arch }, generated) => pluginUnits(plugin, native, arch, generated)
    })
  }
}

try {
  await buildAll()
} catch (error) {
  console.error(`build:native: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
