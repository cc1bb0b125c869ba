/** Options come in once, as `unknown`, and are decoded whole: every problem reported, misspelt keys refused by the nearest name. */
import { Effect, Schema } from "effect"
import { BadOptions } from "./errors.ts"
import { nearest } from "./nearest.ts"

export const decodeOptions = <F extends Schema.Struct.Fields>(part: string, schema: Schema.Struct<F>) => {
  const decode = Schema.decodeUnknownEffect(schema, { errors: "all" })
  const known = Object.keys(schema.fields)
  return (
    options: unknown
  ): Effect.Effect<Schema.Struct<F>["Type"], BadOptions, Schema.Struct<F>["DecodingServices"]> => {
    const given = typeof options === "object" && options !== null ? Object.keys(options) : []
    const misspelt = given
      .filter((key) => !known.includes(key))
      .map((key) => {
        const meant = nearest(key, known)
        return `there is no option ${key}${meant === undefined ? `; there are ${known.join(", ")}` : `, did you mean ${meant}?`}`
      })
    return decode(options).pipe(
      Effect.mapError(
        (e) =>
          new BadOptions({
            part,
            problems: [...misspelt, ...e.message.split("\n").filter((line) => line.trim() !== "")]
          })
      ),
      Effect.flatMap((decoded) =>
        misspelt.length > 0 ? Effect.fail(new BadOptions({ part, problems: misspelt })) : Effect.succeed(decoded)
      )
    )
  }
}
/** A key with a default. */
export const withDefault = <S extends Schema.Top & Schema.WithoutConstructorDefault>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** The generator's key has 32 bits: a larger seed would silently be another one. */
export const Seed = Schema.Int.check(
  Schema.isBetween(
    { minimum: 0, maximum: 2 ** 32 - 1 },
    { message: "expected a seed from 0 to 4294967295: the random generator takes 32 bits" }
  )
)
export const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0, { message: "expected a positive integer" }))
export const NonNegative = Schema.Finite.check(
  Schema.isGreaterThanOrEqualTo(0, { message: "expected a number of at least 0" })
)
export const NonNegativeInt = Schema.Int.check(
  Schema.isGreaterThanOrEqualTo(0, { message: "expected an integer of at least 0" })
)
/** [0, 1) */
export const Fraction = Schema.Finite.check(
  Schema.isBetween({ minimum: 0, maximum: 1, exclusiveMaximum: true }, { message: "expected a number in [0, 1)" })
)
