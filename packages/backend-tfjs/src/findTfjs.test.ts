/** Which package is taken, and what is said of those that are not: with the messages of the packages and loaders themselves. */
import assert from "node:assert/strict"
import test from "node:test"
import { Effect } from "effect"
import { bestTfjs, findTfjs, type ImportPackage } from "./findTfjs.ts"

const GPU = "@tensorflow/tfjs-node-gpu"
const NODE = "@tensorflow/tfjs-node"
const missing = (name: string): Error => new Error(`Cannot find package '${name}' imported from /app/x.js`)
/** A module like TensorFlow.js's as far as the search looks at it. */
const fake = (gpu?: boolean) => {
  let backend = ""
  return {
    setBackend: async (name: string) => {
      backend = name
      return true
    },
    getBackend: () => backend,
    ready: async () => {},
    backend: () => (gpu === undefined ? {} : { isUsingGpuDevice: gpu })
  }
}
/** A machine that has these packages: modules, or what their import throws. */
const machine =
  (packages: Readonly<Record<string, object>>): ImportPackage =>
  async (name) => {
    const found = packages[name] ?? missing(name)
    if (found instanceof Error) throw found
    return found
  }
const look = (packages: Readonly<Record<string, object>>) => Effect.runPromise(findTfjs(machine(packages)))
const detailOf = async (name: string, thrown: string): Promise<string> => {
  const { packages } = await look({ [name]: new Error(thrown) })
  return packages.find((one) => one.name === name)!.detail
}

test("the GPU's package goes before the CPU's, and is not loaded beside it", async () => {
  const { best, packages } = await look({ [GPU]: fake(true), [NODE]: fake() })
  assert.equal(best?.name, GPU)
  assert.deepEqual(
    packages.slice(0, 2).map(({ loads, detail }) => [loads, detail]),
    [
      [true, "runs on the GPU"],
      [false, `is not loaded beside ${GPU}`]
    ]
  )
})
test("a GPU's package that finds no GPU says so", async () => {
  const { packages } = await look({ [GPU]: fake(false) })
  assert.match(packages[0]!.detail, /runs on the CPU: it finds no CUDA device/)
})
test("a CommonJS module under `default` serves", async () => {
  const { best } = await look({ [NODE]: { default: fake() } })
  assert.equal(best?.name, NODE)
})
test("the backends of tfjs-core need tfjs-core, by its own name", async () => {
  const { best, packages } = await look({ "@tensorflow/tfjs-backend-wasm": {} })
  assert.equal(best, undefined)
  assert.deepEqual(
    packages.map(({ detail }) => detail),
    ["is not installed", "is not installed", "needs @tensorflow/tfjs-core, which is not installed", "is not installed"]
  )
})
test("a missing libtensorflow, a missing CUDA library and a missing addon each have a message of their own", async () => {
  assert.match(
    await detailOf(NODE, "libtensorflow.so.2: cannot open shared object file: No such file or directory"),
    /libtensorflow\.so\.2 is missing: .*install @tensorflow\/tfjs-node anew/
  )
  assert.match(
    await detailOf(GPU, "libcudart.so.11.0: cannot open shared object file: No such file or directory"),
    /the CUDA library libcudart\.so\.11\.0 is missing: install CUDA 11/
  )
  assert.match(
    await detailOf(
      GPU,
      "The Node.js native addon module (tfjs_binding.node) can not be found at path: /a/tfjs_binding.node. \nPlease run"
    ),
    /its native addon was not built: .*npm rebuild @tensorflow\/tfjs-node-gpu/
  )
  assert.match(
    await detailOf(NODE, "libfoo.so.1: cannot open shared object file"),
    /the library libfoo\.so\.1 is missing/
  )
  assert.equal(await detailOf(NODE, "something else\nmore"), "does not load: something else")
})
test("nothing there: one error that names all of them and what to install", async () => {
  const failed = await Effect.runPromise(Effect.flip(bestTfjs(machine({}))))
  assert.equal(failed._tag, "TfjsUnavailable")
  assert.match(failed.message, /tfjs-node-gpu is not installed.*Install one/)
})
test("the packages of this workspace are found", async () => {
  const { best, packages } = await Effect.runPromise(findTfjs())
  assert.equal(best?.backend, "wasm")
  assert.deepEqual(
    packages.map(({ loads }) => loads),
    [false, false, true, true]
  )
})
