/** JSON as Python's json.dumps writes it: the bytes of a checkpoint depend on its spaces and on how it spells a float. */

/** `repr` of a finite float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on. */
export const pythonFloat = (value: number): string => {
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0"
  const [mantissa = "", power = ""] = Math.abs(value).toExponential().split("e")
  const sign = value < 0 ? "-" : ""
  const digits = mantissa.replace(".", "")
  const exponent = Number(power)
  if (exponent < -4 || exponent >= 16) {
    const size = String(Math.abs(exponent)).padStart(2, "0")
    return `${sign}${mantissa}e${exponent < 0 ? "-" : "+"}${size}`
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0")
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`
}

/** A member of the object: `floats` are spelt as floats, also where they are whole. */
const spelt = (value: unknown, float: boolean): string =>
  Array.isArray(value)
    ? `[${value.map((one) => spelt(one, float)).join(", ")}]`
    : float && typeof value === "number"
      ? pythonFloat(value)
      : JSON.stringify(value)

/** One line, `": "` and `", "` between. */
export const pythonJson = (object: object, floats: ReadonlySet<string>): string =>
  `{${Object.entries(object)
    .map(([key, value]) => `${JSON.stringify(key)}: ${spelt(value, floats.has(key))}`)
    .join(", ")}}`
