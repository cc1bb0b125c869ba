/** Codes, nested scales and offsets against bitsandbytes' own, bit for bit. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import test from "node:test"
import { fileURLToPath } from "node:url"
import { ReferenceQueue, Scope, widen } from "@graft/core"
import { openSafetensors, type SafetensorsFile } from "@graft/safetensors"
import { Effect } from "effect"
import { doubleQuant } from "./doubleQuant.ts"
import { dynamicMap } from "./dynamicMap.ts"

const golden = fileURLToPath(new URL("../../../../shared/golden/", import.meta.url))
const floats = (file: SafetensorsFile, name: string) => widen(file.tensors.get(name)!.read(), "f32")
const onFile = (name: string, body: (file: SafetensorsFile) => Promise<void>) =>
  openSafetensors(join(golden, name)).pipe(
    Effect.flatMap((file) => Effect.promise(() => body(file))),
    Effect.scoped,
    Effect.runPromise
  )

const quantised = async (scales: Float32Array) => {
  const queue = new ReferenceQueue([1 << 20])
  const scope = new Scope(queue, "weights")
  const t = scope.tensor([scales.length], "scales")
  queue.upload(t, () => scales)
  const [codes, nested, offset] = doubleQuant.encode(t, scope, "w")
  const found = {
    codes: await queue.readBytes(codes!),
    nested: await queue.read(nested!),
    offset: await queue.read(offset!)
  }
  await queue.close()
  return found
}

if (existsSync(golden)) {
  test("the dynamic map is bitsandbytes'", () =>
    onFile("nf4-vectors.safetensors", async (file) =>
      assert.deepEqual(dynamicMap(), floats(file, "plain.dq.nested_code"))
    ))

  test("scales of every codec and block size: codes, nested scales, offset", () =>
    onFile("codecs.safetensors", async (file) => {
      let cases = 0
      for (const name of file.tensors.keys()) {
        if (!name.endsWith(".dq.absmax")) continue
        const base = name.slice(0, -".dq.absmax".length)
        const { codes, nested, offset } = await quantised(floats(file, `${base}.absmax`))
        assert.deepEqual(offset, floats(file, `${base}.dq.offset`), `${base} offset`)
        assert.deepEqual(nested, floats(file, `${base}.dq.nested_absmax`), `${base} nested`)
        assert.deepEqual(codes, new Uint8Array(file.tensors.get(name)!.read()), `${base} codes`)
        cases++
      }
      assert.equal(cases, 64)
    }))
}
