import { Effect } from "effect"
export const doctor = (input: any) => Effect.sync(() => console.log(input))
