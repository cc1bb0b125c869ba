/** `--target` and `--exclude`: `all-linear`, names with commas, or a regular expression, known by its signs. */
const SIGNS = /[*+?^$()[\]{}|\\]/

export const targetsOf = (text: string): string | ReadonlyArray<string> =>
  text === "all-linear" || SIGNS.test(text)
    ? text
    : text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== "")
