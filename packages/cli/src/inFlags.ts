/** What packages call by the names of their options, as the flags of this command. */
const names: ReadonlyArray<readonly [RegExp, string]> = [
  [/\bresidentBytes\b/g, "--optimizer-memory"],
  [/\bmaxLength\b/g, "--max-length"],
  [/\bresponsePart\b/g, "--response-part"],
  [/\bquestionPart\b/g, "--question-part"],
  [/\ballow end-/g, "give --allow end-"],
  [/\bthe option columns\b/g, "--column, as in --column prompt=question"],
  [/\bset dropout to 0, or dora to false\b/g, "leave out --lora-dropout or --dora"]
]
export const inFlags = (text: string): string => names.reduce((said, [name, flag]) => said.replace(name, flag), text)
