import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import { Effect, Exit, Fiber } from "effect"
import { openSafetensors } from "./openSafetensors.ts"
import { replaceFile } from "./replaceFile.ts"
import { safetensorsLayout, writeSafetensors } from "./writeSafetensors.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-safetensors-"))
after(() => rmSync(folder, { recursive: true }))

const golden = (name: string): string => fileURLToPath(new URL(`../../../../shared/golden/${name}`, import.meta.url))

// Where a clone has them beside it.
const written = ["tiny-llama/model", "peft-lora/adapter_model", "tiny-llama-nf4/model", "codecs", "optimizers"]
for (const name of written.filter((one) => existsSync(golden(`${one}.safetensors`)))) {
  test(`writes ${name} byte for byte as Python did`, async () => {
    const copy = join(folder, "copy.safetensors")
    const source = golden(`${name}.safetensors`)
    await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const file = yield* openSafetensors(source)
          const metadata = Object.fromEntries(file.metadata)
          const tensors = [...file.tensors.values()].reverse() // the order given must not matter
          if (file.metadata.size > 0) yield* writeSafetensors(copy, tensors, { metadata })
          else {
            // `save_file` without metadata writes no __metadata__ at all: compare the tensors' part.
            const { order } = safetensorsLayout(tensors)
            assert.deepEqual(
              order.map((tensor) => tensor.name),
              file.names
            )
            return
          }
          assert.ok(readFileSync(copy).equals(readFileSync(source)))
        })
      )
    )
  })
}

// From safetensors 0.8.0: serialize() of one tensor of each format, in this order.
test("orders formats and escapes names as the reference writer", () => {
  const dtypes = [
    "U64",
    "I64",
    "F64",
    "C64",
    "F32",
    "U32",
    "I32",
    "BF16",
    "F16",
    "U16",
    "I16",
    "F8_E5M2FNUZ",
    "F8_E4M3FNUZ",
    "F8_E8M0",
    "F8_E4M3",
    "F8_E5M2",
    "I8",
    "U8",
    "BOOL"
  ] as const
  const tensors = [...dtypes].sort().map((dtype) => ({ name: dtype, dtype, shape: [1], read: () => new Uint8Array(0) }))
  assert.deepEqual(
    safetensorsLayout(tensors).order.map((tensor) => tensor.dtype),
    dtypes
  )
  const named = ["a", "\u{10000}", "\uffff", 'é"\n\x7f\u2028'].map((name) => ({
    name,
    dtype: "f32" as const,
    shape: [0],
    read: () => new Uint8Array(0)
  }))
  const { header } = safetensorsLayout(named)
  const text = new TextDecoder().decode(header.subarray(8))
  assert.ok(
    text.startsWith(
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"é\\"\\n\x7f\u2028":'
    )
  )
  assert.ok(text.indexOf("\uffff") < text.indexOf("\u{10000}"), "by UTF-8 bytes, not by UTF-16 units")
  assert.equal(header.length % 8, 0)
})

test("streams a tensor in pieces", async () => {
  const path = join(folder, "pieces.safetensors")
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1, 2)
    yield Uint8Array.of(3)
  }
  await Effect.runPromise(
    writeSafetensors(path, [
      { name: "a", dtype: "u8", shape: [3], read: pieces },
      { name: "b", dtype: "u8", shape: [2], read: () => Promise.resolve(Uint8Array.of(4, 5)) },
      { name: "c", dtype: "u8", shape: [2], read: () => [Uint8Array.of(6), Uint8Array.of(7)] }
    ])
  )
  assert.deepEqual([...readFileSync(path).subarray(-7)], [1, 2, 3, 4, 5, 6, 7])
})

const untouched = async (act: (path: string) => Effect.Effect<void, unknown>): Promise<unknown> => {
  const path = join(folder, "old.safetensors")
  writeFileSync(path, "old")
  const exit = await Effect.runPromiseExit(act(path))
  assert.equal(readFileSync(path, "utf8"), "old")
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith(".part")),
    []
  )
  assert.ok(Exit.isFailure(exit))
  return exit.cause
}

test("a tensor of the wrong length leaves what stood there", async () => {
  const cause = await untouched((path) =>
    writeSafetensors(path, [{ name: "a", dtype: "f32", shape: [2], read: () => new Uint8Array(7) }])
  )
  assert.match(String(cause), /a is f32 \[2\], 8 bytes, but its read gave 7/)
})

test("a read that throws leaves what stood there", async () => {
  const cause = await untouched((path) =>
    writeSafetensors(path, [
      {
        name: "a",
        dtype: "f32",
        shape: [2],
        read: () => {
          throw new Error("device lost")
        }
      }
    ])
  )
  assert.match(String(cause), /device lost/)
})

test("interruption leaves what stood there", async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      yield new Uint8Array(1000)
    }
  }
  await untouched((path) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(replaceFile(path, endless()))
      yield* Effect.sleep(20)
      yield* Fiber.interrupt(fiber)
      yield* Fiber.join(fiber)
    })
  )
})

test("a folder that is not there is a typed error", async () => {
  const error = await Effect.runPromise(Effect.flip(writeSafetensors(join(folder, "no", "x.safetensors"), [])))
  assert.equal(error._tag, "FileError")
  assert.equal(error.code, "ENOENT")
})

test("a disk that takes no more (here a limit on file size) leaves what stood there", () => {
  const path = join(folder, "full.safetensors")
  writeFileSync(path, "old")
  const program = `
    import { Effect } from "effect"
    import { writeSafetensors } from ${JSON.stringify(fileURLToPath(new URL("./writeSafetensors.ts", import.meta.url)))}
    const big = { name: "a", dtype: "u8", shape: [1 << 20], read: () => new Uint8Array(1 << 20) }
    const error = await Effect.runPromise(Effect.flip(writeSafetensors(${JSON.stringify(path)}, [big])))
    console.log(error._tag, error.code, error.message)`
  const shell = spawnSync("sh", ["-c", `trap '' XFSZ; ulimit -f 64; exec "$0" -e "$1"`, process.execPath, program], {
    encoding: "utf8",
    cwd: fileURLToPath(new URL("..", import.meta.url))
  })
  assert.match(shell.stdout, /^FileError EFBIG cannot write .*larger than this system allows/, shell.stderr)
  assert.equal(readFileSync(path, "utf8"), "old")
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith(".part")),
    []
  )
})
