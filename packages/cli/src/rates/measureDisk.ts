/**
 * How fast the disk under a folder reads, past the system's cache where it lets us (O_DIRECT): a file of random bytes is
 * written, synced, read in pieces and removed.
 */
import { closeSync, constants, fsyncSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeSync } from "node:fs"
import { join } from "node:path"

const SIZE = 128 * 2 ** 20
const PIECE = 8 * 2 ** 20
/** Free space below which nothing is written for a measurement. */
const LEAST_FREE = 2 ** 31
/** What O_DIRECT wants addresses, offsets and sizes to be multiples of, at most. */
const ALIGNMENT = 4096

/** Bytes a second; undefined where there is no room, or reads come from the system's cache. */
export const measureDisk = (folder: string): number | undefined => {
  mkdirSync(folder, { recursive: true })
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize < LEAST_FREE || constants.O_DIRECT === undefined) return undefined
  const path = join(folder, `disk-${process.pid}.tmp`)
  try {
    write(path)
    return readDirectly(path)
  } catch {
    return undefined // a file system without direct reads
  } finally {
    rmSync(path, { force: true })
  }
}

const write = (path: string): void => {
  const file = openSync(path, "wx")
  try {
    const piece = Buffer.alloc(PIECE)
    for (let at = 0; at < PIECE; at += 65_536) crypto.getRandomValues(piece.subarray(at, at + 65_536))
    for (let at = 0; at < SIZE; at += PIECE) writeSync(file, piece)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

const readDirectly = (path: string): number => {
  const file = openSync(path, constants.O_RDONLY | constants.O_DIRECT)
  try {
    const memory = Buffer.alloc(PIECE + ALIGNMENT)
    const start = alignedStart(file, memory)
    const began = performance.now()
    for (let at = 0; at < SIZE; at += PIECE) readSync(file, memory, start, PIECE, at)
    return SIZE / ((performance.now() - began) / 1000)
  } finally {
    closeSync(file)
  }
}

/** The address of memory is not told: the first place that a direct read takes is aligned. @throws if none is */
const alignedStart = (file: number, memory: Buffer): number => {
  for (let start = 0; start < ALIGNMENT; start += 8) {
    try {
      readSync(file, memory, start, ALIGNMENT, 0)
      return start
    } catch (cause) {
      if (start + 8 >= ALIGNMENT) throw cause
    }
  }
  return 0
}
