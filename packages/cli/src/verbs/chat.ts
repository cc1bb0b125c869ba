import { Effect } from "effect"
export const chat = (input: any) => Effect.sync(() => console.log(input))
