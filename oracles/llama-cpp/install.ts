/**
 * Installs llama.cpp for the scripts of this folder, without the packages for CUDA and Vulkan (85 MB instead of 725).
 *
 *   bun oracles/llama-cpp/install.ts     exit code 0: it is there; 3: it could not be had, for instance without a network
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const folder = fileURLToPath(new URL(".", import.meta.url))

export const installed = (): boolean => existsSync(new URL("node_modules/node-llama-cpp/package.json", import.meta.url))

if (import.meta.main && !installed()) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    console.log("llama.cpp is installed for Linux on x86-64 only; add its package for this machine to package.json")
    process.exit(3)
  }
  const npm = spawnSync("npm", ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: "inherit"
  })
  process.exit(npm.status === 0 && installed() ? 0 : 3)
}
