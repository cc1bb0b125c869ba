/** The numbers from … to - 1. A loop, since `Int32Array.from` of a million makes a list of objects on its way. */
export const range = (from: number, to: number): Int32Array => {
  const numbers = new Int32Array(Math.max(0, to - from))
  for (let i = 0; i < numbers.length; i++) numbers[i] = from + i
  return numbers
}
