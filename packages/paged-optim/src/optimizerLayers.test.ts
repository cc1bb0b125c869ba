/** What a layer refuses before anything is opened, and what it says of itself. */
import assert from "node:assert/strict"
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import test, { after } from "node:test"
import { Optimizer } from "@graft/core"
import { Cause, Effect, Exit } from "effect"
import { PagedAdam, PagedAdamW, PagedLion, PagedSgd } from "./optimizerLayers.ts"

const folder = mkdtempSync(join(tmpdir(), "graft-layers-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const opened = (layer: ReturnType<typeof PagedAdamW.layer>) =>
  Effect.runPromiseExit(Effect.scoped(Effect.map(Optimizer, ({ part }) => part.name).pipe(Effect.provide(layer))))
const refusal = async (layer: ReturnType<typeof PagedAdamW.layer>) => {
  const exit = await opened(layer)
  assert.ok(Exit.isFailure(exit), "it was taken")
  const [reason] = exit.cause.reasons
  return reason !== undefined && Cause.isFailReason(reason) ? reason.error : assert.fail(Cause.pretty(exit.cause))
}

test("each says its width and its budget", async () => {
  for (const [layer, name] of [
    [PagedAdamW.layer(), "AdamW in 32 bits"],
    [PagedAdam.layer({ bits: 8 }), "Adam in 8 bits"],
    [PagedLion.layer({ bits: 8, residentBytes: 2 ** 25, spillFolder: folder }), "Lion in 8 bits, paged under 32 MiB"],
    [PagedSgd.layer({ residentBytes: 2 ** 16 }), "SGD in 32 bits, paged under 0.06 MiB"]
  ] as const)
    assert.deepEqual(await opened(layer), Exit.succeed(name))
  assert.deepEqual(readdirSync(folder), [], "a layer alone makes no file")
})
test("a budget that cannot be, a misspelt option: every problem by name", async () => {
  for (const [layer, message] of [
    [PagedAdamW.layer({ residentBytes: 65_535 }), /residentBytes is 65535, the least is 65536 \(64 KiB\)/],
    [
      PagedAdamW.layer({ residentBytes: 65_536, pageBytes: 131_072 }),
      /residentBytes is 65536, smaller than one page of 131072/
    ],
    [PagedAdamW.layer({ residentBytes: 65_536, pageBytes: 5000 }), /pageBytes is 5000, it must be a multiple of 4096/],
    [PagedAdamW.layer({ pageBytes: 4096 }), /pageBytes means nothing without residentBytes/],
    [PagedAdamW.layer({ bits: 16 } as never), /8|32/], // what a recipe's JSON may hold
    [PagedAdamW.layer({ residentByte: 65_536 } as never), /residentByte, did you mean residentBytes\?/]
  ] as const) {
    const error = await refusal(layer)
    assert.equal(error._tag, "BadOptions")
    assert.match(error.message, message)
  }
})
test("a folder that cannot be written to", async () => {
  const missing = await refusal(PagedAdamW.layer({ residentBytes: 65_536, spillFolder: join(folder, "no") }))
  assert.equal(missing._tag, "SpillError")
  if (process.getuid?.() === 0) return // may write everywhere
  chmodSync(folder, 0o500)
  assert.match(
    (await refusal(PagedAdamW.layer({ residentBytes: 65_536, spillFolder: folder }))).message,
    /cannot be written/
  )
  chmodSync(folder, 0o700)
})
