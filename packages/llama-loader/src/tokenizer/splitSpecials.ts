/** Cuts a text at the names of special tokens: their ids, and the stretches of text between. The longest name wins. */
export const splitSpecials = (named: ReadonlyMap<string, number>): ((text: string) => Generator<string | number>) => {
  const names = [...named.keys()].filter((name) => name !== "").sort((a, b) => b.length - a.length)
  const pattern =
    names.length === 0
      ? undefined
      : new RegExp(names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "g")
  return function* (text) {
    let done = 0
    if (pattern !== undefined)
      for (const match of text.matchAll(pattern)) {
        if (match.index > done) yield text.slice(done, match.index)
        yield named.get(match[0])!
        done = match.index + match[0].length
      }
    if (done < text.length) yield text.slice(done)
  }
}
