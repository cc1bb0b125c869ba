/** `graft inspect`: what lies in a file or folder, by looking at its content's kind. */
import { existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileError } from "@graft/safetensors"
import { Effect } from "effect"
import type { InspectInput } from "../commands/inspect.ts"
import { byFormat, type Inspection } from "../inspection/Inspection.ts"
import { inspectAdapter } from "../inspection/inspectAdapter.ts"
import { inspectCheckpoint } from "../inspection/inspectCheckpoint.ts"
import { inspectGguf } from "../inspection/inspectGguf.ts"
import { inspectModel } from "../inspection/inspectModel.ts"
import { inspectSafetensors } from "../inspection/inspectSafetensors.ts"
import { InvalidInput } from "../problems.ts"
import { bytes, whole } from "../show/quantities.ts"
import { makeScreen, type Screen } from "../show/Screen.ts"
import { table } from "../show/table.ts"

export const inspect = Effect.fnUntraced(function* ({ path, tensors, json }: InspectInput) {
  const screen = makeScreen(json)
  for (const found of yield* inspections(path)) show(screen, found, tensors)
})

const inspections = Effect.fnUntraced(function* (path: string) {
  const folder = yield* Effect.try({
    try: () => statSync(path).isDirectory(),
    catch: (e) => fileError(path, "open", e)
  })
  if (!folder) {
    if (path.endsWith(".gguf")) return [yield* inspectGguf(path)]
    if (path.endsWith(".safetensors") || path.endsWith(".safetensors.index.json"))
      return [yield* inspectSafetensors(path)]
    return yield* new InvalidInput({
      message: `${path} is none of what can be inspected: a .gguf or .safetensors file, a model's or an adapter's folder`
    })
  }
  const has = (...names: ReadonlyArray<string>) => existsSync(join(path, ...names))
  const found: Array<Inspection> = []
  if (has("config.json")) found.push(yield* inspectModel(path))
  if (has("adapter_config.json")) found.push(yield* inspectAdapter(path))
  if (has("state.json")) found.push(yield* inspectCheckpoint(path))
  if (has("state", "state.json")) found.push(yield* inspectCheckpoint(join(path, "state")))
  if (found.length > 0) return found
  const names = readdirSync(path)
  const inside = names.find((name) => /\.(gguf|safetensors)$/.test(name))
  const hint = inside === undefined ? "" : `; there is ${inside}: name that file itself`
  return yield* new InvalidInput({
    message: `${path} holds no config.json, adapter_config.json or state.json, so that it is no model, adapter or checkpoint${hint}`
  })
})

const show = (screen: Screen, { kind, path, facts, notes, tensors }: Inspection, all: boolean): void => {
  const formats = byFormat(tensors)
  screen.say(screen.style.strong(`${kind}  ${path}`))
  const width = Math.max(0, ...facts.map(([name]) => name.length))
  for (const [name, value] of facts) {
    const shown =
      typeof value === "number" && Number.isInteger(value) && value >= 1e4
        ? whole(value)
        : typeof value === "number"
          ? String(Number(value.toPrecision(6)))
          : String(value ?? "unknown")
    screen.say(`  ${name.padEnd(width)}  ${shown}`)
  }
  for (const note of notes) screen.say(`  ${screen.style.warning("note")}: ${note}`)
  const sum = tensors.reduce((n, tensor) => n + tensor.bytes, 0)
  const parts = formats.map(({ format, count, bytes: n }) => `${count} ${format} (${bytes(n)})`)
  screen.say(`  ${tensors.length} tensors, ${bytes(sum)}: ${parts.join(", ")}`)
  if (all) {
    screen.say(table(tensors.map((t) => [t.name, t.format, `[${t.shape.join(", ")}]`, bytes(t.bytes)])))
  }
  screen.event({
    event: "Inspection",
    kind,
    path,
    facts: Object.fromEntries(facts),
    notes,
    formats,
    ...(all ? { tensors } : {})
  })
}
