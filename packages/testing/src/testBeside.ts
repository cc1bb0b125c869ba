/**
 * Vectors and a model that others computed lie beside the repository where it is developed, in ../shared, since they are too
 * large to lie in it. A clone by itself has none of them: tests over them are not there, all others are.
 */
import { existsSync } from "node:fs"
import test from "node:test"
import { fileURLToPath } from "node:url"

export const beside = (path: string): string => fileURLToPath(new URL(`../../../../shared/${path}`, import.meta.url))
export const isBeside = (path: string): boolean => existsSync(beside(path))

type Body = () => void | Promise<void>
type Register = (title: string, ...how: readonly [Body] | readonly [{ readonly timeout: number }, Body]) => void

/** `test`, where all of these lie there. */
export const testBeside = (...paths: ReadonlyArray<string>): Register =>
  paths.every(isBeside)
    ? (title, ...how) => void (how.length === 1 ? test(title, how[0]) : test(title, ...how))
    : () => {}
