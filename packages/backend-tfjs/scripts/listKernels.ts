/**
 * Writes kernels/tfjs-node-gpu.json: the kernels that @tensorflow/tfjs-node-gpu registers, read from its archive in the registry,
 * since its native library cannot be installed everywhere. `bun packages/backend-tfjs/scripts/listKernels.ts [VERSION]`; npm
 * downloads the archive and checks it against the registry's hash, which is kept beside the list.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const version = process.argv[2] ?? "4.22.0"
const folder = mkdtempSync(join(tmpdir(), "tfjs-node-gpu-"))
try {
  const spec = `@tensorflow/tfjs-node-gpu@${version}`
  const packed = execFileSync("npm", ["pack", "--json", spec], { cwd: folder, encoding: "utf8" })
  const [{ filename, integrity }] = JSON.parse(packed) as [{ filename: string; integrity: string }] // npm's own answer
  execFileSync("tar", ["xzf", filename.replace("@", "").replace("/", "-")], { cwd: folder })
  const registered = readFileSync(join(folder, "package/dist/register_all_kernels.js"), "utf8")
  const kernels = [...registered.matchAll(/require\("\.\/kernels\/(\w+)"\)/g)].map(([, name = ""]) => name)
  const out = fileURLToPath(new URL("../kernels/tfjs-node-gpu.json", import.meta.url))
  writeFileSync(out, `${JSON.stringify({ package: spec, integrity, kernels }, null, 2)}\n`)
  console.log(`${kernels.length} kernels of ${spec}, ${integrity}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
