/** The file system said no: a file that is not there, a permission, a full disk, a device error. */
import { Schema } from "effect"

export class FileError extends Schema.TaggedError<FileError>()("FileError", {
  message: Schema.String,
  path: Schema.String,
  operation: Schema.Literals(["open", "read", "write", "list"]),
  /** The system's code, such as `ENOENT` or `ENOSPC`; empty where it gave none. */
  code: Schema.String
}) {}

const cures: Readonly<Record<string, string>> = {
  ENOENT: "There is no such file: check the path.",
  EACCES: "Permission was refused: check who owns the file and its directory.",
  EPERM: "Permission was refused: check who owns the file and its directory.",
  EISDIR: "This is a directory: name a file in it.",
  ENOTDIR: "A part of the path is a file, not a directory: check the path.",
  ENOSPC: "The disk is full: free some space, or write elsewhere. What stood there before is untouched.",
  EDQUOT: "The disk quota is used up: free some space, or write elsewhere. What stood there before is untouched.",
  EFBIG: "The file is larger than this system allows: raise the limit (ulimit -f), or write elsewhere.",
  EROFS: "The file system is read-only: write elsewhere.",
  EMFILE: "Too many files are open: raise the limit (ulimit -n)."
}

/** Wraps what `node:fs` threw. */
export const fileError = (path: string, operation: FileError["operation"], cause: unknown): FileError => {
  if (cause instanceof FileError) return cause
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : ""
  const reason = cures[code] ?? (cause instanceof Error ? cause.message : String(cause))
  return new FileError({
    message: `cannot ${operation} ${path}${code === "" ? "" : ` (${code})`}. ${reason}`,
    path,
    operation,
    code
  })
}
