/** Which C++ compiler builds the native library, and what it builds for. CXX decides when it is set. */
import { spawnSync } from "node:child_process"

export interface Compiler {
  /** Program and leading arguments: CXX may be "ccache g++". */
  readonly command: ReadonlyArray<string>
  /** First line of --version, part of every object's key. */
  readonly version: string
  /** What it compiles for, named as in process.platform and process.arch. */
  readonly platform: string
  readonly arch: string
}

const candidates = ["g++", "clang++", "c++"]

const output = (command: ReadonlyArray<string>, argument: string): string | undefined => {
  const [program = "", ...leading] = command
  const run = spawnSync(program, [...leading, argument], { encoding: "utf8" })
  return run.status === 0 ? run.stdout.trim() : undefined
}

/** "x86_64-linux-gnu" → linux, x64. A cross compiler thus builds for its own target. */
const targetOf = (triple: string): { readonly platform: string; readonly arch: string } => {
  const cpu = triple.split("-")[0] ?? ""
  const arch = cpu === "x86_64" ? "x64" : cpu === "aarch64" || cpu === "arm64" ? "arm64" : cpu
  return { arch, platform: triple.includes("linux") ? "linux" : /darwin|apple/.test(triple) ? "darwin" : triple }
}

export const findCompiler = (): Compiler => {
  const wanted = process.env["CXX"]?.trim()
  const commands = wanted ? [wanted.split(/\s+/)] : candidates.map((name) => [name])
  for (const command of commands) {
    const version = output(command, "--version")?.split("\n")[0]
    const triple = output(command, "-dumpmachine")
    if (version === undefined || triple === undefined) continue
    const target = targetOf(triple)
    if (target.platform === triple || (target.arch !== "x64" && target.arch !== "arm64")) {
      throw new Error(
        `${command.join(" ")} builds for ${triple}; backend-cpu supports x86-64 and arm64 on Linux and macOS`
      )
    }
    return { command, version, ...target }
  }
  throw new Error(
    wanted
      ? `no C++ compiler: CXX is "${wanted}", which does not run; set it to g++ or clang++ of C++20, or unset it`
      : `no C++ compiler: none of ${candidates.join(", ")} runs; install g++ (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install), or set CXX`
  )
}
