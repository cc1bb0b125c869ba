/** One side of a comparison: a process that answers each line it reads with a line of JSON. */
import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"

export interface Side {
  readonly name: string
  readonly ready: Readonly<Record<string, unknown>>
  /** Sends a line and waits for its answer. */
  readonly ask: (line: string) => Promise<Readonly<Record<string, unknown>>>
  readonly end: () => Promise<void>
}

export const startSide = async (
  name: string,
  command: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Promise<Side> => {
  const [program = "", ...args] = command
  const child: ChildProcess = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, HF_HUB_OFFLINE: "1", CUDA_VISIBLE_DEVICES: "", ...env }
  })
  const waiting: Array<{ resolve: (answer: Record<string, unknown>) => void; reject: (e: Error) => void }> = []
  let errors = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-4000)
  })
  createInterface({ input: child.stdout! }).on("line", (line) => {
    if (line.startsWith("{")) waiting.shift()?.resolve(JSON.parse(line) as Record<string, unknown>) // the sides' own protocol
  })
  const gone = new Promise<void>((resolve) =>
    child.on("close", (code) => {
      for (const { reject } of waiting) reject(new Error(`${name} ended with ${code}\n${errors}`))
      resolve()
    })
  )
  const answer = () => new Promise<Record<string, unknown>>((resolve, reject) => waiting.push({ resolve, reject }))
  const ready = await answer()
  return {
    name,
    ready,
    ask: (line) => {
      const next = answer()
      child.stdin?.write(`${line}\n`)
      return next
    },
    end: async () => {
      child.stdin?.end()
      await gone
    }
  }
}
