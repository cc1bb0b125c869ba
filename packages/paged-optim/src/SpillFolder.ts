/**
 * The folder that pages spill to, and its files: one for each run, of its full size before the first step, removed at its
 * end. A file that a dead process left gives its room back: it is removed, not taken over, so that a process which only seems
 * dead (another container with the same name) keeps what it has open. What does not begin as ours do is left alone.
 *
 * A file is a header of 4096 bytes (magic, version, a token of the run, host and process) and then the pages.
 */
import { randomBytes } from "node:crypto"
import fs from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { SpillError } from "./SpillError.ts"

export const HEADER_BYTES = 4096
const MAGIC = "graft spill 1\n"
const TOKEN_BYTES = 16
const SUFFIX = ".graft-spill"
/** What is written at once while a file gets its size. */
const FILL_BYTES = 2 ** 22

export interface SpillFile {
  readonly path: string
  /** Names the run: who opens the file by its path compares it. */
  readonly token: Uint8Array
  /** Open for reading and writing. */
  readonly descriptor: number
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
const codeOf = (cause: unknown): string | undefined => (cause as { readonly code?: string }).code // an errno, if anything
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

const headerOf = (token: Uint8Array): Uint8Array => {
  const header = new Uint8Array(HEADER_BYTES)
  const owner = JSON.stringify({ host: hostname(), pid: process.pid })
  header.set(new TextEncoder().encode(MAGIC), 0)
  header.set(token, MAGIC.length)
  header.set(new TextEncoder().encode(`\n${owner}\n`), MAGIC.length + TOKEN_BYTES)
  return header
}
interface Owner {
  readonly host: string
  readonly pid: number
}
/** Who made a file, if its header is one of ours. */
const ownerOf = (path: string): Owner | undefined => {
  const header = new Uint8Array(512)
  const descriptor = fs.openSync(path, "r")
  try {
    fs.readSync(descriptor, header, 0, header.length, 0)
  } finally {
    fs.closeSync(descriptor)
  }
  const text = new TextDecoder("latin1").decode(header)
  if (!text.startsWith(MAGIC)) return undefined
  try {
    const { host, pid } = JSON.parse(text.slice(MAGIC.length + TOKEN_BYTES).split("\n")[1] ?? "")
    return typeof host === "string" && Number.isSafeInteger(pid) ? { host, pid } : undefined
  } catch {
    return undefined
  }
}
const lives = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return codeOf(cause) === "EPERM"
  }
}
/** Whether a process of this machine made it that is no more: by its number, or before this one of the same number began. */
const isAbandoned = (owner: Owner | undefined, writtenAt: number): boolean =>
  owner !== undefined &&
  owner.host === hostname() &&
  (owner.pid === process.pid ? writtenAt < Date.now() - 1000 * (process.uptime() + 1) : !lives(owner.pid))

/** writeSync may write less than it is asked to, as on a disk that is nearly full. */
export const writeWhole = (descriptor: number, bytes: Uint8Array, position: number): void => {
  for (let done = 0; done < bytes.length; )
    done += fs.writeSync(descriptor, bytes, done, bytes.length - done, position + done)
}

const spillError = (path: string, bytes: number, cause: unknown): SpillError => {
  const full = ["ENOSPC", "EDQUOT", "EFBIG"].includes(codeOf(cause) ?? "")
  return new SpillError({
    path,
    reason: full ? "full" : "file",
    message: full
      ? `the spill file ${path} needs ${mebibytes(bytes)}, and there is no room for it (${codeOf(cause)}); free some, give another spill folder, or a larger resident budget`
      : `the spill file ${path} cannot be made: ${messageOf(cause)}`
  })
}
/** Takes the room for `bytes` of pages: zeros, not a hole, since room that is promised must be there. */
export const reserve = ({ descriptor, path }: Pick<SpillFile, "descriptor" | "path">, bytes: number): void => {
  const zeros = new Uint8Array(Math.min(FILL_BYTES, bytes))
  try {
    for (let done = 0; done < bytes; done += zeros.length)
      writeWhole(descriptor, zeros.subarray(0, Math.min(zeros.length, bytes - done)), HEADER_BYTES + done)
  } catch (cause) {
    throw spillError(path, HEADER_BYTES + bytes, cause)
  }
}

export class SpillFolder {
  readonly folder: string
  readonly #open = new Map<SpillFile, () => void>()

  /** Throws a SpillError where nothing can be written. */
  constructor(folder: string) {
    this.folder = folder
    const fail = (problem: string) =>
      new SpillError({
        path: folder,
        reason: "folder",
        message: `the spill folder ${folder} ${problem}; give a folder that can be written to, on a disk with room`
      })
    let isFolder: boolean
    try {
      isFolder = fs.statSync(folder).isDirectory()
    } catch (cause) {
      throw fail(codeOf(cause) === "ENOENT" ? "does not exist" : `cannot be looked at (${messageOf(cause)})`)
    }
    if (!isFolder) throw fail("is not a folder")
    try {
      fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
    } catch {
      throw fail("cannot be written to")
    }
  }

  /**
   * A file of this run for `bytes` of pages, whose room is looked for here and taken by `reserve`; `onRemove` is told of its
   * end. Throws a SpillError, and then nothing is left behind.
   */
  create(bytes: number, onRemove: () => void = () => {}): SpillFile {
    const token = new Uint8Array(randomBytes(TOKEN_BYTES))
    const path = join(this.folder, `${Buffer.from(token).toString("hex")}${SUFFIX}`)
    const size = HEADER_BYTES + bytes
    let descriptor: number | undefined
    try {
      this.#removeAbandoned()
      this.requireRoom(bytes)
      descriptor = fs.openSync(path, "wx+", 0o600)
      writeWhole(descriptor, headerOf(token), 0)
    } catch (cause) {
      if (descriptor !== undefined) fs.closeSync(descriptor)
      fs.rmSync(path, { force: true })
      if (cause instanceof SpillError) throw cause
      throw spillError(path, size, cause)
    }
    const file = { path, token, descriptor }
    this.#open.set(file, () => {
      onRemove()
      fs.closeSync(file.descriptor)
      fs.rmSync(path, { force: true })
    })
    return file
  }
  /** Throws a SpillError where the disk has not the room for `pages` bytes of pages, as far as it tells. */
  requireRoom(pages: number): void {
    const bytes = HEADER_BYTES + pages
    let room: number
    try {
      const { bavail, bsize } = fs.statfsSync(this.folder)
      room = bavail * bsize
    } catch {
      return // a runtime or a file system that does not tell: writing will
    }
    if (room < bytes) {
      throw new SpillError({
        path: this.folder,
        reason: "full",
        message: `the spill file in ${this.folder} needs ${mebibytes(bytes)}, and there are ${mebibytes(room)}; free some, give another spill folder, or a larger resident budget`
      })
    }
  }
  /** Closes and removes all files of this run. */
  close(): void {
    for (const remove of this.#open.values()) remove()
    this.#open.clear()
  }

  #removeAbandoned(): void {
    for (const name of fs.readdirSync(this.folder)) {
      const path = join(this.folder, name)
      if (!name.endsWith(SUFFIX)) continue
      try {
        const status = fs.lstatSync(path)
        if (status.isFile() && isAbandoned(ownerOf(path), status.mtimeMs)) fs.rmSync(path)
      } catch {
        // Another run removed it, or it is not ours to touch.
      }
    }
  }
}
