/** A Python with the peers: the one that is named, else a virtual environment made from PyPI (about 6 GB, once). */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (program: string, ...args: ReadonlyArray<string>): void => {
  const { status, error } = spawnSync(program, args, { stdio: "inherit" })
  if (status !== 0)
    throw new Error(`${program} ${args.join(" ")} failed${error === undefined ? "" : `: ${error.message}`}`)
}

export const pythonOf = (named: string | undefined): string => {
  if (named !== undefined) return named
  const folder = join(root, ".cache/oracles")
  const python = join(folder, "bin/python")
  if (!existsSync(python)) {
    console.error(
      `making ${folder} with PyTorch, PEFT and bitsandbytes from PyPI; --python or GRAFT_PYTHON names another`
    )
    run("python3", "-m", "venv", folder)
    run(python, "-m", "pip", "install", "--quiet", "-r", join(root, "oracles/python/requirements.txt"))
  }
  return python
}
