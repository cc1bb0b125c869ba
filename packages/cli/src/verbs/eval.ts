import { Effect } from "effect"
export const evaluate = (input: any) => Effect.sync(() => console.log(input))
