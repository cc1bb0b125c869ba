import { Effect } from "effect"
export const generate = (input: any) => Effect.sync(() => console.log(input))
