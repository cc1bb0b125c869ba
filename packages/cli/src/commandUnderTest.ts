/** Runs `graft` as a user does: a process of its own, its words and its exit code. For tests. */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after } from "node:test"
import { fileURLToPath } from "node:url"
import { nativePath } from "@graft/backend-cpu"

export const root = fileURLToPath(new URL("../../../", import.meta.url))
export const fixtures = join(root, "packages/testing/fixtures")
const main = fileURLToPath(new URL("./main.ts", import.meta.url))

/** A folder that goes when the tests of this file are done. */
export const temporaryFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "graft-cli-"))
  after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** What there is to run on: the native library is built before the tests where a compiler is. */
export const backends: ReadonlyArray<string> = existsSync(nativePath()) ? ["reference", "cpu"] : ["reference"]

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}
export interface Running {
  readonly outcome: Promise<Outcome>
  readonly signal: (name: "SIGINT" | "SIGKILL") => void
}

export const start = (
  args: ReadonlyArray<string>,
  options: { readonly onOutput?: (stdout: string) => void; readonly env?: Readonly<Record<string, string>> } = {}
): Running => {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...options.env }
  })
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
    options.onOutput?.(stdout)
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  return {
    outcome: new Promise((resolve, reject) => {
      child.on("error", reject)
      child.on("close", (code) => resolve({ code, stdout, stderr }))
    }),
    signal: (name) => child.kill(name)
  }
}
export const graft = (...args: ReadonlyArray<string>): Promise<Outcome> => start(args).outcome

/** Fails with what the command said unless it ended well. */
export const graftOk = async (...args: ReadonlyArray<string>): Promise<string> => {
  const { code, stdout, stderr } = await graft(...args)
  if (code !== 0) throw new Error(`graft ${args.join(" ")} ended with ${code}\n${stdout}${stderr}`)
  return stdout
}

/** The objects of a JSON Lines text. */
export const jsonLines = (text: string): ReadonlyArray<Record<string, unknown>> =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>) // whatever it is, a test looks closer
