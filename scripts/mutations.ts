/** `bun run mutations [COUNT]`: the damaged GGUF files of the tests, a hundred thousand of them unless a number is given. */
import { runCommand } from "./runCommand.ts"
import { root } from "./workspacePackages.ts"

const count = process.argv[2] ?? "100000"
const { code } = await runCommand(process.execPath, ["test", "packages/llama-loader/src/gguf/hostileGguf.test.ts"], {
  cwd: root,
  env: { GRAFT_MUTATIONS: count }
})
process.exitCode = code
