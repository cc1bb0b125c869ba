/** Runs a command, shows what it prints as it prints it, and keeps it. Needs nothing installed. */
import { spawn } from "node:child_process"

export interface CommandResult {
  /** The exit code; -1 when it could not be started, was killed by a signal or by the time limit. */
  readonly code: number
  /** stdout and stderr in the order in which they came. */
  readonly output: string
}

export interface CommandOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  /** Keep the output only, to be shown by the caller when it matters. */
  readonly quiet?: boolean
  readonly timeoutMs?: number
}

export const runCommand = (
  command: string,
  args: ReadonlyArray<string>,
  { cwd, env = {}, quiet = false, timeoutMs }: CommandOptions
): Promise<CommandResult> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    const take = (stream: NodeJS.WriteStream) => (chunk: Buffer) => {
      output += chunk.toString()
      if (!quiet) stream.write(chunk)
    }
    child.stdout.on("data", take(process.stdout))
    child.stderr.on("data", take(process.stderr))
    const end = (code: number, note = "") => {
      clearTimeout(timer)
      if (note !== "" && !quiet) console.error(note)
      resolve({ code, output: output + note })
    }
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            child.kill("SIGKILL")
            output += `\n${command}: killed after ${timeoutMs / 1000} s\n`
          }, timeoutMs)
    child.on("error", (error) => end(-1, `${command}: ${error.message}\n`))
    child.on("close", (code, signal) =>
      code === null ? end(-1, `${command} ${args.join(" ")}: ended by ${signal}\n`) : end(code)
    )
  })
