/** `bun run mutations [COUNT]`: the damaged GGUF and tokenizer.model files of the tests, a hundred thousand of each unless a number is given. */
import { runCommand } from "./runCommand.ts"
import { root } from "./workspacePackages.ts"

const count = process.argv[2] ?? "100000"
const tests = [
  "packages/llama-loader/src/gguf/hostileGguf.test.ts",
  "packages/llama-loader/src/tokenizer/modelTokenizer.test.ts"
]
const { code } = await runCommand(process.execPath, ["test", ...tests], {
  cwd: root,
  env: { GRAFT_MUTATIONS: count }
})
process.exitCode = code
