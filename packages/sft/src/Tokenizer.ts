/**
 * What this package needs of a tokenizer. It is a shape, not a class, so that any loader's tokenizer serves and this
 * package imports none.
 */
export interface Tokenizer {
  /** `addSpecial` also puts what the model wants at the start and end of a plain text (often BOS). */
  readonly encode: (text: string, options: { readonly addSpecial: boolean }) => ReadonlyArray<number>
  readonly decode: (ids: ReadonlyArray<number>) => string
  readonly bosId?: number | undefined
  readonly eosId?: number | undefined
}

/**
 * The tokens that a tokenizer puts before any plain text, found by asking it for one letter with and without them. Texts
 * are then encoded without, and these put in front by hand: so a prompt and its continuation can be encoded apart, no
 * end-of-text lands after a prompt, and nothing is doubled.
 */
export const leadingSpecials = (tokenizer: Tokenizer): ReadonlyArray<number> => {
  const bare = tokenizer.encode("a", { addSpecial: false })
  const full = tokenizer.encode("a", { addSpecial: true })
  for (let start = 0; start + bare.length <= full.length; start++) {
    if (bare.every((id, i) => full[start + i] === id)) return full.slice(0, start)
  }
  return []
}
