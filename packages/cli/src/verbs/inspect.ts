import { Effect } from "effect"
export const inspect = (input: any) => Effect.sync(() => console.log(input))
