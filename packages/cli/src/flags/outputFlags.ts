import { off } from "./maybe.ts"

export const json = off("json", "for machines: JSON on standard output, errors as JSON on standard error")
