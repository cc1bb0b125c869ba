/** A pattern for one name as an expression: `*` stands for any letters, `?` for one. */
export const namePattern = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`
  )

/** A pattern for a path with `/`: `**` stands for any folders, `*` and `?` stay within one name. */
export const pathPattern = (pattern: string): ((path: string) => boolean) => {
  const parts = pattern.split("/").map((part) => (part === "**" ? part : namePattern(part)))
  const matches = (names: ReadonlyArray<string>, from: number): boolean => {
    const part = parts[from]
    if (part === undefined) return names.length === 0
    if (part === "**") return matches(names, from + 1) || (names.length > 0 && matches(names.slice(1), from))
    return names.length > 0 && (part as RegExp).test(names[0]!) && matches(names.slice(1), from + 1) // no other text is in it
  }
  return (path) => matches(path.split("/"), 0)
}
